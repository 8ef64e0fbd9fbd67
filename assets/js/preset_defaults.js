// @ts-check
// The user's own defaults of a preset: save, go back to them, or to those of the preset.
"use strict";
(() => {
  const { $, post, toast } = window.comfy.kit;

  /** Fills the form with the defaults that apply now. */
  function reset() {
    const form = $("form.settings");
    const { preset } = form.dataset;
    // Gradio does not draw what equals the last answer, whatever was typed since.
    form.reset();
    for (const field of form.elements) field.dispatchEvent(new Event("input", { bubbles: true }));
    $("#picker .island, #picker.island")?.comfyTrigger("choose", { preset, reset: true, draft: window.comfy.current() });
  }
  /** @param {Record<string, unknown>} values */
  async function save(values) {
    const { preset } = $("form.settings").dataset;
    const answer = await post("presets/defaults", { preset, values });
    if (answer) shown(answer.defaults);
    return answer;
  }
  /** @param {boolean} exist */
  function shown(exist) {
    const forget = $("[data-do=forget-defaults]");
    if (forget) forget.hidden = !exist;
  }
  Object.assign(window.comfy.actions, {
    async "save-defaults"() {
      const answer = await save(JSON.parse(window.comfy.current()).values);
      if (answer) toast(answer.defaults ? "Saved as your default" : "These are the preset's own defaults");
    },
    "reset-form": reset,
    async "forget-defaults"() {
      if (await save({})) reset();
    },
  });
  window.comfy.onIsland(async (island) => {
    if (island.closest("#form") && $("form.settings")) shown((await window.comfy.ownPresets()).defaults);
  });
})();
