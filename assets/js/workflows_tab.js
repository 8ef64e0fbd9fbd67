// @ts-check
// The Workflows tab: workflow files in, their forms out.
"use strict";
(() => {
  const { $, flash, remember } = window.comfy.kit;
  /** @param {string} id */
  const ear = (id) => $(`#${id} .island, #${id}.island`);

  /**
   * @param {string} path
   * @param {Blob & { name?: string }} file
   * @param {Record<string, any>} query
   * @returns {Promise<any>} the answer, or { error }
   */
  async function sendFile(path, file, query = { name: file.name }) {
    try {
      const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { method: "POST", body: file });
      const told = await answer.json();
      return answer.ok ? told : { error: told.error ?? "That did not work." };
    } catch {
      return { error: "Connection lost. Try again." };
    }
  }

  // ---- the tab -------------------------------------------------------------------------------

  /** @param {File} file */
  async function openWorkflow(file) {
    const trouble = $("#workflow-trouble");
    const zone = $(".dropzone");
    trouble.textContent = "";
    zone.setAttribute("aria-busy", "true");
    const told = await sendFile("workflows", file);
    zone.removeAttribute("aria-busy");
    if (told.error) trouble.textContent = told.error;
    else showNeeds(told.id);
  }
  /** The workflow to show once Gradio has drawn the tab. @type {string | null} */
  let awaited = null;
  /** @param {string} id */
  function showNeeds(id) {
    const sources = ear("sources");
    awaited = sources ? null : id;
    sources?.comfyTrigger("show", { id });
    if (matchMedia("(max-width: 860px)").matches) $("#opened-side")?.scrollIntoView({ block: "start" });
  }
  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    const field = event.target;
    if (field.dataset?.openWorkflow === undefined || !field.files?.[0]) return;
    openWorkflow(field.files[0]);
    field.value = ""; // the same file may be chosen again
  });
  Object.assign(window.comfy.actions, {
    "open-pasted"() {
      const text = $("#workflow-text").value.trim();
      if (text) openWorkflow(new File([text], "Pasted workflow.json", { type: "application/json" }));
      else $("#workflow-trouble").textContent = "Paste the workflow into the box first.";
    },
    "use-workflow"(button) {
      remember($("#prompt textarea")?.value ?? "");
      button.closest(".island").comfyTrigger("use", { ...button.dataset });
    },
    "save-preset"(button) {
      button.closest(".island").comfyTrigger("save", { ...button.dataset, text: $("#preset-title").value });
    },
    "copy-link"(button) {
      const link = `${location.origin}${location.pathname}?preset=${encodeURIComponent(button.dataset.preset)}`;
      const done = navigator.clipboard?.writeText(link) ?? Promise.reject();
      done.then(() => flash(button, "Copied"), () => flash(button, link));
    },
  });

  // A link to a form wins over the stored draft, once: a reload keeps edits.
  const kept = window.comfy.draft;
  window.comfy.draft = () => {
    const draft = JSON.parse(kept());
    const asked = new URLSearchParams(location.search).get("preset");
    if (!asked) return JSON.stringify(draft);
    const address = new URL(location.href);
    address.searchParams.delete("preset");
    history.replaceState(null, "", address);
    return JSON.stringify({ ...draft, preset: asked, values: draft.preset === asked ? draft.values : {} });
  };

  // A redrawn list keeps its opened groups and its filter.
  const unfolded = new Map();
  document.addEventListener("toggle", (/** @type {On<Event>} */ { target }) => {
    if (target.matches?.(".source-group")) unfolded.set(target.dataset.group, target.open);
  }, true);
  window.comfy.onIsland((element) => {
    if (awaited && element.closest("#sources")) setTimeout(() => awaited && showNeeds(awaited));
    for (const group of element.querySelectorAll(".source-group")) {
      group.open = unfolded.get(group.dataset.group) ?? group.open;
    }
    const filter = $(".sources .filter", element);
    if (filter?.value) filter.dispatchEvent(new Event("input", { bubbles: true }));
  });

  function toWorkflows() {
    $("#tabs button[role=tab][data-tab-id=workflows]")?.click();
  }
  window.comfy.workflows = { sendFile, openWorkflow, showNeeds, toWorkflows };
})();
