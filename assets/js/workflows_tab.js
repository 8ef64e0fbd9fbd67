// @ts-check
// The Workflows tab: workflow files in, their forms out.
"use strict";
(() => {
  const { $, announce, draw, flash, make, post } = window.comfy.kit;
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
      const result = await answer.json();
      return answer.ok ? result : { error: result.error ?? "That did not work." };
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
    const result = await sendFile("workflows", file);
    zone.removeAttribute("aria-busy");
    if (result.error) return void (trouble.textContent = result.error);
    show(result.html);
    toReport();
  }
  /** The report that the page shows, as HTML: drawn again if Gradio mounts the tab later. */
  let report = "";
  /** The element of the report. @type {AnyElement | null} */
  let home = null;
  let latest = 0; // the number of the newest request for a report
  /** @param {string} html */
  function show(html) {
    latest += 1;
    report = html;
    home = ear("opened");
    if (!home) return;
    const template = make("template", { innerHTML: report });
    const [old, fresh] = [home.children, template.content.children];
    // The same workflow once more: a title that is being typed stays.
    const same = old.length === 1 && fresh.length === 1 && old[0].dataset.opened && old[0].dataset.opened === fresh[0].dataset.opened;
    if (same) draw(home, report);
    else home.replaceChildren(...fresh);
    window.comfy.translate(home);
    announce(home);
  }
  /**
   * Shows the answer of a request for a report, unless a newer one was shown meanwhile.
   * @param {Promise<any>} request
   */
  async function answered(request) {
    const number = ++latest;
    const answer = await request;
    if (answer && number === latest) show(answer.html);
    return answer;
  }
  /** On a phone the report stands below a long list. */
  function toReport() {
    if (matchMedia("(max-width: 860px)").matches) $("#opened-side")?.scrollIntoView({ block: "start" });
  }
  /** Shows what a workflow lacks now. @param {string} id */
  const refreshReport = (id) => answered(getJson(`workflows/report?${new URLSearchParams({ id })}`));
  /** @param {string} id */
  async function showNeeds(id) {
    await refreshReport(id);
    toReport();
  }
  /** @param {string} path */
  async function getJson(path) {
    const response = await fetch(path).catch(() => null);
    return response?.ok ? response.json().catch(() => null) : null;
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
      button.closest(".island").comfyTrigger("use", { ...button.dataset });
    },
    async "pick-workflow"(button) {
      const { where, name, title } = button.dataset;
      if (await answered(post("workflows/pick", { where, name, title }))) toReport();
    },
    async "save-preset"(button) {
      const answer = await answered(post("workflows/save", { id: button.dataset.id, title: $("#preset-title").value }));
      if (answer) ear("sources")?.comfyTrigger("saved", {});
    },
    "copy-link"(button) {
      const link = `${location.origin}${location.pathname}?preset=${encodeURIComponent(button.dataset.preset)}`;
      const done = navigator.clipboard?.writeText(link) ?? Promise.reject();
      done.then(() => flash(button, "Copied"), () => flash(button, link));
    },
  });

  // A redrawn list keeps its opened groups and its filter.
  const unfolded = new Map();
  document.addEventListener("toggle", (/** @type {On<Event>} */ { target }) => {
    if (target.matches?.(".source-group")) unfolded.set(target.dataset.group, target.open);
  }, true);
  window.comfy.onIsland((element) => {
    if (report && element !== home && element.closest("#opened")) show(report);
    for (const group of element.querySelectorAll(".source-group")) {
      group.open = unfolded.get(group.dataset.group) ?? group.open;
    }
    const filter = $(".sources .filter", element);
    if (filter?.value) filter.dispatchEvent(new Event("input", { bubbles: true }));
  });

  function toWorkflows() {
    $("#tabs button[role=tab][data-tab-id=workflows]")?.click();
  }
  window.comfy.workflows = { sendFile, openWorkflow, refreshReport, showNeeds, toReport, toWorkflows, show, getJson };
})();
