// Keeps the overview fresh and the times young; without it the pages work as well.
"use strict";

function tellAges(root) {
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(element.dateTime)) / 1000));
    const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
    let left = seconds;
    const parts = [];
    for (const [unit, length] of units) {
      const count = Math.floor(left / length);
      left %= length;
      if (count > 0) parts.push(`${count} ${unit}`);
    }
    const text = `${parts.slice(0, 2).join(" ") || "0 s"} ago`;
    if (element.textContent !== text) element.textContent = text;
  }
}

// Replaces the block, but keeps its pictures: a new element would be loaded, and fail, anew each time.
function takeOver(block, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const kept = new Map([...block.querySelectorAll("img")].map((image) => [image.getAttribute("src"), image]));
  for (const image of fresh.content.querySelectorAll("img")) {
    const old = kept.get(image.getAttribute("src"));
    if (!old) continue;
    kept.delete(image.getAttribute("src"));
    old.alt = image.alt;
    image.replaceWith(old);
  }
  block.replaceChildren(fresh.content);
}

for (const form of document.querySelectorAll("form[data-filters]")) {
  form.addEventListener("change", () => form.requestSubmit());
}

const live = document.querySelector("[data-live]");
if (live) {
  const source = new EventSource(live.dataset.live);
  source.onmessage = (message) => {
    const hadFocus = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    takeOver(live, message.data);
    document.title = document.title.replace(/^[^ ]+/, live.querySelector("#health").textContent);
    if (hadFocus) live.querySelector(`a[href="${CSS.escape(hadFocus)}"]`)?.focus();
  };
}
setInterval(() => tellAges(document), 1000);
tellAges(document);
