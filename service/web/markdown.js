// Markdown of model cards as elements: headings, paragraphs, lists, tables, code, emphasis, links.

import { element } from "./shared/dom.js";

/** Return the elements of a text; what is not understood is shown as it is, never run. */
export function elementsOf(markdown) {
  const blocks = [];
  let lines = markdown.replace(/^---\n[\s\S]*?\n---\n/, "").split("\n"); // without front matter
  while (lines.length) {
    const line = lines[0];
    const heading = line.match(/^(#{1,6}) +(.*)$/);
    if (!line.trim()) lines.shift();
    else if (heading) {
      // The page has an h1, and the dialog an h2.
      blocks.push(element(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2])));
      lines.shift();
    } else if (line.startsWith("```")) {
      const end = lines.indexOf("```", 1);
      const code = lines.splice(0, end < 0 ? lines.length : end + 1);
      blocks.push(element("pre", { tabindex: 0, text: code.slice(1, end < 0 ? undefined : -1).join("\n") }));
    } else if (line.startsWith("|")) blocks.push(table(take(lines, (next) => next.startsWith("|"))));
    else if (/^[-*] /.test(line)) {
      const items = take(lines, (next) => /^([-*] |  )/.test(next)).join("\n").split(/\n(?=[-*] )/);
      blocks.push(element("ul", {}, ...items.map((item) => element("li", {}, ...inline(item.slice(2))))));
    } else {
      const paragraph = take(lines, (next, at) => at === 0 || (next.trim() && !/^(#{1,6} |```|\||[-*] )/.test(next)));
      blocks.push(element("p", {}, ...inline(paragraph.join(" "))));
    }
  }
  return blocks;
}

function take(lines, isIn) {
  const end = lines.findIndex((line, at) => !isIn(line, at));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function table(lines) {
  const rows = lines.map((line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")));
  const isHead = rows.length > 1 && rows[1].every((cell) => /^:?-+:?$/.test(cell));
  const made = (name) => (cells) => element("tr", {}, ...cells.map((cell) => element(name, name === "th" ? { scope: "col" } : {}, ...inline(cell))));
  const head = isHead ? [element("thead", {}, made("th")(rows[0]))] : [];
  const body = element("tbody", {}, ...rows.slice(isHead ? 2 : 0).map(made("td")));
  return element("div", { class: "scroll", tabindex: 0 }, element("table", {}, ...head, body));
}

/** Return a line's texts and elements. Links are shown, too, but lead nowhere: they come from the store. */
function inline(text) {
  const found = [];
  const marks = /`([^`]+)`|\*\*([^*]+)\*\*|(?<![\w*])[*_]([^*_]+)[*_](?![\w*])|\[([^\]]+)\]\(([^)\s]+)\)|\\([\\`*_{}[\]()#+\-.!|<>])/g;
  let end = 0;
  for (const { 0: all, 1: code, 2: bold, 3: slanted, 4: link, 5: address, 6: escaped, index } of text.matchAll(marks)) {
    if (index > end) found.push(text.slice(end, index));
    end = index + all.length;
    if (code) found.push(element("code", { text: code }));
    else if (bold) found.push(element("strong", {}, ...inline(bold)));
    else if (slanted) found.push(element("em", { text: slanted }));
    else if (link) found.push(link === address ? link : `${link} (${address})`);
    else found.push(escaped);
  }
  if (end < text.length) found.push(text.slice(end));
  return found;
}
