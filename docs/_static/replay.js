/* Replay the recorded sessions of a lesson in a window: type the commands, and show their output. */
"use strict";

(() => {
  const sessions = [...document.querySelectorAll("article div.recorded")];
  if (!sessions.length) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const LETTER = 30, ANSWER = 300, PAUSE = 900;
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    made.textContent = text || "";
    return made;
  };
  const button = (label, action) => {
    const made = element("button", "replay-button", label);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  };

  /* Each typed line with its output. Pygments ends its elements at the end of each line. */
  const entries = [];
  sessions.forEach((session, number) => {
    const lines = session.querySelector("pre").innerHTML.replace(/\n$/, "").split("\n");
    lines.forEach((html) => {
      const row = element("div", "");
      row.innerHTML = html || " ";
      if (row.querySelector(".gp")) {
        const prompt = row.querySelector(".gp").textContent;
        entries.push({ number, row, prompt, typed: row.textContent.slice(prompt.length), output: [] });
      } else if (entries.length) {
        entries.at(-1).output.push(row);
      }
    });
  });

  const dialog = element("dialog", "replay");
  dialog.setAttribute("aria-label", "Recording of the sessions of this lesson");
  const outer = element("div", "highlight-console");
  const inner = element("div", "highlight");
  const screen = element("pre", "");
  screen.tabIndex = 0;
  const place = element("span", "");
  place.setAttribute("aria-live", "polite");
  const bar = element("div", "replay-bar");
  let next = 0;
  let end = entries.length;
  /* Of the run that may write: a newer run, or a pause, has another number. */
  let run = 0;
  let playing = false;
  /* Ends when the entry that is being typed is complete. */
  let busy = Promise.resolve();

  const label = () => {
    play.textContent = playing ? "Pause" : next === entries.length ? "Play again" : "Play";
  };
  const append = (row) => {
    screen.append(row);
    screen.scrollTop = screen.scrollHeight;
  };
  /* Show one entry, with typing if `mine` is given: then only while it is the number of the current run. */
  const show = async (entry, mine) => {
    place.textContent = `Session ${entry.number + 1} of ${sessions.length}: ${entry.prompt}${entry.typed}`;
    if (mine && !still.matches) {
      const line = element("div", "");
      line.append(element("span", "gp", entry.prompt), document.createTextNode(""));
      append(line);
      for (const letter of entry.typed) {
        line.lastChild.data += letter;
        await wait(LETTER);
        if (run !== mine) break;
      }
      /* The screen has been cleared meanwhile. */
      if (!line.isConnected) return;
      line.remove();
    }
    const typed = entry.row.cloneNode(true);
    append(typed);
    if (mine && run === mine) await wait(ANSWER);
    if (!typed.isConnected) return;
    entry.output.forEach((row) => append(row.cloneNode(true)));
  };
  const pause = () => {
    run += 1;
    playing = false;
    label();
  };
  const start = async () => {
    if (next === entries.length) seek(0);
    if (next >= end) end = entries.length;
    run += 1;
    const mine = run;
    playing = true;
    label();
    await busy;
    while (run === mine && next < end) {
      const entry = entries[next];
      next += 1;
      busy = show(entry, mine);
      await busy;
      if (run === mine) await wait(PAUSE);
    }
    if (run === mine) pause();
  };
  /* Show everything before an entry at once. */
  const seek = (to) => {
    screen.replaceChildren();
    next = 0;
    while (next < to) show(entries[next++], 0);
  };
  const step = async () => {
    pause();
    await busy;
    if (next < entries.length) show(entries[next++], 0);
    label();
  };
  const play = button("Play", () => (playing ? pause() : start()));
  bar.append(play, button("Step", step), button("Close", () => dialog.close()), place);
  inner.append(screen);
  outer.append(inner);
  dialog.append(bar, outer);
  dialog.addEventListener("close", pause);
  /* Play the entries from one to the one before another. */
  const open = (from, to) => {
    if (!dialog.isConnected) document.querySelector("article").append(dialog);
    end = to;
    seek(from);
    dialog.showModal();
    play.focus();
    start();
  };

  sessions.forEach((session, number) => {
    const row = element("div", "replay-row");
    const from = entries.findIndex((entry) => entry.number === number);
    const to = entries.findLastIndex((entry) => entry.number === number) + 1;
    row.append(button("Play", () => open(from, to)));
    session.after(row);
  });
  const all = element("p", "replay-all");
  all.append(button("Play the terminal recording of this lesson", () => open(0, entries.length)));
  document.querySelector("article h1").after(all);
})();
