/* Show the definition of a linked term on hover, on keyboard focus, and on the first tap. Without JavaScript, it is the title. */
"use strict";

(() => {
  const links = [...document.querySelectorAll("article a.term[title]")];
  if (!links.length) return;
  const tip = document.createElement("div");
  tip.id = "term-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;
  let timer = 0;

  const hide = () => {
    clearTimeout(timer);
    tip.hidden = true;
    if (shown) shown.removeAttribute("aria-describedby");
    shown = null;
  };
  const show = (link, tapped) => {
    hide();
    shown = link;
    tip.textContent = link.dataset.definition + (tapped ? " (Tap again to open the glossary.)" : "");
    tip.hidden = false;
    link.setAttribute("aria-describedby", tip.id);
    /* Below the first line of the link, and within the window. */
    const box = link.getClientRects()[0];
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(box.left, room)) + scrollX}px`;
    tip.style.top = `${box.bottom + 4 + scrollY}px`;
  };
  /* The pointer may go from the link to the tooltip. */
  const hideSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(hide, 200);
  };

  links.forEach((link) => {
    let tapped = false;
    link.dataset.definition = link.title;
    link.removeAttribute("title");
    link.addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "touch") show(link, false);
    });
    link.addEventListener("pointerleave", hideSoon);
    link.addEventListener("focus", () => {
      if (link.matches(":focus-visible")) show(link, false);
    });
    link.addEventListener("blur", hideSoon);
    link.addEventListener("pointerdown", (event) => {
      tapped = event.pointerType === "touch" && shown !== link;
    });
    link.addEventListener("click", (event) => {
      if (!tapped) return;
      tapped = false;
      event.preventDefault();
      clearTimeout(timer);
      show(link, true);
    });
  });
  tip.addEventListener("pointerenter", () => clearTimeout(timer));
  tip.addEventListener("pointerleave", hideSoon);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("a.term, #term-tip")) hide();
  });
})();
