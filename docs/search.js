/* How the search of the site orders its results and cuts its excerpts; Sphinx puts this file into searchtools.js. */

const searchQuery = () => (new URLSearchParams(location.search).get("q") || "").toLowerCase().trim();

var Scorer = {
  /* A page or section whose name is the query comes first, then those whose name contains it, then lessons. */
  score: ([docName, title, anchor, , score]) => {
    const query = searchQuery();
    const name = title.split(" > ").pop().toLowerCase().replace(/^\d+\. /, "").replace(/^the /, "").replace(/\(\)$/, "");
    const lesson = docName.startsWith("lessons/") ? 2 : 0;
    if (name === query) return score + (anchor ? 50 : 100) + lesson;
    return score + (name.includes(query) ? 20 : 0) + lesson;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

/* The paragraph that has the query, or else its words. Paragraphs of text come before lists and code. */
const excerpt = (html, keywords, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  const main = (anchor && page.getElementById(anchor.slice(1))) || page.querySelector('[role="main"]');
  if (!main) return null;
  const query = searchQuery();
  const texts = [...main.querySelectorAll(":scope p:not(li p)"), ...main.querySelectorAll("p, li, dd, pre")]
    .map((one) => one.textContent.replace(/\s+/g, " ").trim())
    .filter((text) => text && !/^About \d+ minutes\./.test(text));
  const words = [...keywords];
  const having = (wanted) => texts.find((text) => wanted.every((word) => text.toLowerCase().includes(word)));
  const text = having([query]) || having(words) || words.map((word) => having([word])).find(Boolean) || texts[0];
  if (!text) return null;
  const at = Math.max(0, text.toLowerCase().indexOf(having([query]) ? query : words[0]) - 120);
  const start = at && text.indexOf(" ", at) + 1;
  const made = document.createElement("p");
  made.className = "context";
  const cut = text.length > start + 240;
  const end = cut ? text.lastIndexOf(" ", start + 240) : text.length;
  made.textContent = (start ? "… " : "") + text.slice(start, end) + (cut ? " …" : "");
  return made;
};

addEventListener("DOMContentLoaded", () => {
  Search.makeSearchSummary = excerpt;
});

/* Without a server, a page cannot be fetched. The build has written the texts of all pages into a script. */
if (location.protocol === "file:") {
  const texts = new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = "_static/search-texts.js";
    script.addEventListener("load", () => resolve(window.searchTexts));
    document.head.append(script);
  });
  window.fetch = async (url) => {
    const text = (await texts)[url.replace(/^\.\//, "").replace(/\.html$/, "")];
    return { text: async () => text };
  };
}
