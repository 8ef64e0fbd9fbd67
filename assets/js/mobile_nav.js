// @ts-check
// The tabs at the foot of a phone: inputs, results, queue. A wide page shows inputs and results together.
"use strict";
(() => {
  const { $, $$, make, smooth } = window.comfy.kit;

  const NARROW = "(max-width: 860px)";
  const tab = (name) => $(`#tabs button[role=tab][data-tab-id=${name}]`);
  const chosen = () => $("#tabs button[role=tab][aria-selected=true]")?.dataset.tabId;
  /** How far each side of Create was scrolled. @type {Record<string, number>} */
  const scrolled = {};

  /** Shows inputs, results or the queue, as a tab of its own. @param {string} place */
  function go(place) {
    if (place === "queue") return tab("queue")?.click();
    const create = $("#create");
    const before = create?.dataset.place ?? "inputs";
    if (chosen() !== "create") tab("create")?.click();
    else scrolled[before] = scrollY;
    if (create) create.dataset.place = place;
    mark();
    // A tab that was hidden has its height only in the next frame.
    requestAnimationFrame(() => scrollTo({ top: before === place ? 0 : scrolled[place] ?? 0, behavior: before === place ? smooth() : "auto" }));
  }
  window.comfy.actions["go-to"] = (button) => go(button.dataset.place);
  /** On a phone, shows a side of Create. @param {string} place */
  window.comfy.showPlace = (place) => {
    if (matchMedia(NARROW).matches) go(place);
  };

  let marking = false;
  function mark() {
    marking = false;
    const here = { create: $("#create")?.dataset.place ?? "inputs", queue: "queue" }[chosen() ?? ""];
    for (const button of $$(".place-to")) button.setAttribute("aria-current", String(button.dataset.place === here));
    const unfinished = $("#stage .stage")?.dataset.live ?? "";
    const button = $(".place-to[data-place=queue]");
    if (!button || ($(".badge", button)?.textContent ?? "") === unfinished) return;
    $(".badge", button)?.remove();
    if (unfinished) button.append(make("span", { className: "badge", textContent: unfinished }));
  }
  function soon() {
    if (marking || !matchMedia(NARROW).matches) return;
    marking = true;
    requestAnimationFrame(mark);
  }
  addEventListener("resize", soon);
  document.addEventListener("click", soon);
  window.comfy.onIsland((island) => {
    soon();
    if (!island.closest("#stage")) return;
    new MutationObserver(soon).observe(island, { subtree: true, attributes: true, attributeFilter: ["data-live"] });
  });
})();
