// Plays the segments of a clip one after the other; without it each of them is a link.
"use strict";

const AHEAD_SECONDS = 4; // before a segment's end the next one is loaded
const LOOK_MILLISECONDS = 5000; // how often a clip that still grows is looked at

class ClipPlayer {
  constructor(section) {
    this.section = section;
    this.video = section.querySelector("video");
    this.list = section.querySelector("ol");
    this.now = section.querySelector("[data-now]");
    this.current = this.list.querySelector("a");
    this.ahead = document.createElement("video"); // never shown: the browser keeps what it loads, as far as the answers allow
    this.ahead.preload = "auto";
    this.ahead.muted = true;
    this.isRenewed = false;
    this.isWatched = false; // the viewer wants it to play; an element that met an error calls itself paused
    this.video.addEventListener("play", () => { this.isWatched = true; });
    this.video.addEventListener("pause", () => { this.isWatched = this.video.ended; });
    this.video.addEventListener("timeupdate", () => this.loadAhead());
    this.video.addEventListener("ended", () => this.step(1));
    this.video.addEventListener("error", () => this.renew());
    this.list.addEventListener("click", (event) => this.chosen(event));
    for (const button of section.querySelectorAll("[data-step]")) {
      button.hidden = false;
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    this.tell();
    if ("goesOn" in section.dataset) this.timer = setInterval(() => this.look().catch(() => {}), LOOK_MILLISECONDS);
  }

  links() {
    return [...this.list.querySelectorAll("a")];
  }

  beside(step) {
    const links = this.links();
    return links[links.indexOf(this.current) + step];
  }

  step(step) {
    const link = this.beside(step);
    if (link) this.play(link);
  }

  play(link) {
    this.current = link;
    this.isRenewed = false;
    this.video.src = link.href;
    this.video.play().catch(() => {}); // what is wrong comes as an error event
    this.tell();
  }

  chosen(event) {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.play(link);
  }

  loadAhead() {
    const next = this.beside(1);
    const isSoon = this.video.duration - this.video.currentTime < AHEAD_SECONDS;
    if (next && isSoon && this.ahead.src !== next.href) this.ahead.src = next.href;
  }

  // An address works for minutes only: after a long pause the segment is asked for once more, at the same place.
  renew() {
    if (this.isRenewed) {
      this.current.classList.add("bad");
      this.current.title = "This segment cannot be played";
      if (this.isWatched) this.step(1);
      return;
    }
    this.isRenewed = true;
    const at = this.video.currentTime;
    this.video.src = `${this.current.href}?again=${Date.now()}#t=${at}`;
    if (this.isWatched) this.video.play().catch(() => {});
  }

  tell() {
    const links = this.links();
    this.now.textContent = `Segment ${links.indexOf(this.current) + 1} of ${links.length}`;
    for (const link of links) link.removeAttribute("aria-current");
    this.current.setAttribute("aria-current", "true");
    const place = this.current.parentElement.offsetTop - this.list.offsetTop;
    this.list.scrollTop = place - this.list.clientHeight / 2;
  }

  // The event still runs: the page is asked for the segments that came since.
  async look() {
    const answer = await fetch(location.pathname);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-clip]");
    if (!("goesOn" in fresh.dataset)) clearInterval(this.timer);
    fresh.querySelectorAll("ol > li").forEach((item, place) => {
      if (this.links()[place]?.href !== item.querySelector("a").href) {
        this.list.insertBefore(item, this.list.children[place] ?? null);
      }
    });
    this.tell();
    if (this.video.ended) this.step(1);
  }
}

for (const section of document.querySelectorAll("[data-clip]:has(video)")) new ClipPlayer(section);
