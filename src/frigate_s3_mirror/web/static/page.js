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

const live = document.querySelector("[data-live]");
if (live) {
  const source = new EventSource(live.dataset.live);
  source.onmessage = (message) => {
    const hadFocus = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.innerHTML = message.data;
    document.title = document.title.replace(/^[^ ]+/, live.querySelector("#health").textContent);
    if (hadFocus) live.querySelector(`a[href="${CSS.escape(hadFocus)}"]`)?.focus();
  };
}
setInterval(() => tellAges(document), 1000);
tellAges(document);
