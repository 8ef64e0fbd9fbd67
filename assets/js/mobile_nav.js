// @ts-check
// What stays under the thumb on a phone: inputs, results, queue. On a wide page it is not shown.
"use strict";
(() => {
  const { $, $$, make, smooth } = window.comfy.kit;

  const tab = (name) => $(`#tabs button[role=tab][data-tab-id=${name}]`);
  const chosen = () => $("#tabs button[role=tab][aria-selected=true]")?.dataset.tabId;
  const places = {
    inputs: () => scrollTo({ top: 0, behavior: smooth() }),
    results: () => $("#stage-area")?.scrollIntoView({ behavior: smooth(), block: "start" }),
  };

  window.comfy.actions["go-to"] = (button) => {
    const { place } = button.dataset;
    const home = place === "queue" ? "queue" : "create";
    const moved = chosen() !== home;
    if (moved) tab(home)?.click();
    // A tab that was hidden has its height only in the next frame.
    if (places[place]) requestAnimationFrame(() => requestAnimationFrame(places[place]));
  };

  let marking = false;
  function mark() {
    marking = false;
    const stage = $("#stage-area")?.getBoundingClientRect();
    const reached = stage && stage.top < innerHeight * 0.4;
    const here = { create: reached ? "results" : "inputs", queue: "queue" }[chosen()];
    for (const button of $$(".place-to")) button.setAttribute("aria-current", String(button.dataset.place === here));
    const unfinished = $("#stage .stage")?.dataset.live ?? "";
    const button = $(".place-to[data-place=queue]");
    if (!button || ($(".badge", button)?.textContent ?? "") === unfinished) return;
    $(".badge", button)?.remove();
    if (unfinished) button.append(make("span", { className: "badge", textContent: unfinished }));
  }
  function soon() {
    if (marking || !matchMedia("(max-width: 860px)").matches) return;
    marking = true;
    requestAnimationFrame(mark);
  }
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  document.addEventListener("click", soon);
  window.comfy.onIsland((island) => {
    soon();
    if (!island.closest("#stage")) return;
    new MutationObserver(soon).observe(island, { subtree: true, attributes: true, attributeFilter: ["data-live"] });
  });
})();
