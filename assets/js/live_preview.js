// @ts-check
// The live preview of a running job: one event stream, and a card that changes in place.
"use strict";
(() => {
  const { $, morph, attach } = window.comfy.kit;
  const FIRST_PAUSE_MS = 2000;
  const LONGEST_PAUSE_MS = 60000;

  const card = () => $("#stage .stage[data-live]");
  /** @type {EventSource | null} */
  let stream = null;
  let job = "";
  let pause = FIRST_PAUSE_MS;

  function rest() {
    stream?.close();
    stream = null;
    job = "";
  }
  /** @param {string} html */
  function draw(html) {
    const shown = card();
    if (shown?.dataset.job !== job) return; // Gradio has drawn another job meanwhile
    const template = document.createElement("template");
    template.innerHTML = html;
    morph(shown, template.content.firstElementChild);
  }
  function follow() {
    const wanted = card()?.dataset.job ?? "";
    if (wanted === job) return;
    rest();
    if (!wanted) return;
    job = wanted;
    stream = new EventSource(`stage/events?job=${encodeURIComponent(job)}`);
    stream.onmessage = (event) => {
      pause = FIRST_PAUSE_MS;
      draw(JSON.parse(event.data));
    };
    stream.addEventListener("over", () => {
      const ended = job;
      rest();
      attach({ job: ended });
    });
    const opened = stream;
    stream.onerror = () => {
      // EventSource reconnects after a lost connection, but not after an answer that is no stream.
      if (opened.readyState !== EventSource.CLOSED) return;
      rest();
      setTimeout(() => (attach(), follow()), pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    };
  }

  window.comfy.liveJob = () => job;
  window.comfy.onIsland((island) => island.closest("#stage") && follow());
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (/** @type {On<PageTransitionEvent>} */ event) => event.persisted && follow());
})();
