// @ts-check
// The sections of Status: one is shown at a time, and each browser keeps its choice.
"use strict";
(() => {
  const { $, $$, load, save } = window.comfy.kit;
  const KEPT = "comfy-ui.status-section";

  /** @param {string} name */
  function show(name) {
    const buttons = $$(".status-sections [data-section]");
    const chosen = buttons.find((button) => button.dataset.section === name) ?? buttons[0];
    for (const button of buttons) button.setAttribute("aria-current", String(button === chosen));
    $("#status").dataset.shown = chosen?.dataset.section ?? "overview";
  }
  Object.assign(window.comfy.actions, {
    "status-section"(button) {
      save(KEPT, button.dataset.section);
      show(button.dataset.section);
    },
  });
  window.comfy.onIsland((element) => {
    if (element.querySelector(".status-sections")) show(load(KEPT, "overview"));
  });
})();
