// The stage while a job runs: one stream of events, and a card that changes in place.
"use strict";
(() => {
  const { $, morph, attach } = window.comfy.kit;
  const FIRST_PAUSE_MS = 2000;
  const LONGEST_PAUSE_MS = 60000;

  const card = () => $("#stage .stage[data-live]");
  let stream = null;
  let job = "";
  let pause = FIRST_PAUSE_MS;

  function rest() {
    stream?.close();
    stream = null;
    job = "";
  }
  function draw(html) {
    const shown = card();
    if (shown?.dataset.job !== job) return; // Gradio has drawn something else meanwhile
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
    stream.onerror = (event) => {
      // A lost connection comes back by itself. An answer that is no stream does not: ask anew.
      if (event.target.readyState !== EventSource.CLOSED) return;
      rest();
      setTimeout(() => (attach(), follow()), pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    };
  }

  window.comfy.liveJob = () => job;
  window.comfy.onIsland((island) => island.closest("#stage") && follow());
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (event) => event.persisted && follow());
})();
