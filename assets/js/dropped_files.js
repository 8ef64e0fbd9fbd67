// @ts-check
// Files dropped on the page, and the dialog that offers what to do with one.
"use strict";
(() => {
  const { $, make, dialog, remember, toCreate } = window.comfy.kit;
  const { sendFile, openWorkflow, showNeeds, toWorkflows } = window.comfy.workflows;
  /** @param {string} id */
  const shown = (id) => Boolean($(`#${id}`)?.getClientRects().length);

  const where = () => ["workflows", "create", "library"].find(shown) ?? null;
  /** @param {{ dataTransfer: DataTransfer | null }} event */
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let over;
  document.addEventListener("dragover", (/** @type {On<DragEvent>} */ event) => {
    if (!hasFile(event) || !where() || event.target.closest?.(".upload")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
    clearTimeout(over);
    over = setTimeout(() => document.body.classList.remove("dropping"), 300);
  });
  document.addEventListener("drop", (/** @type {On<DragEvent>} */ event) => {
    const place = where();
    if (!hasFile(event) || !place || event.target.closest?.(".upload")) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    if (place === "workflows") openWorkflow(file);
    else askAbout(file);
  });

  /** Read what a file carries and offer to use it. @param {File} file */
  async function askAbout(file) {
    const summary = await sendFile("drops", file);
    const kind = file.type.split("/")[0];
    const input = $(`#form .upload[data-upload-kind="${CSS.escape(kind)}"] input[type=file]`);
    const picture = kind === "image" ? make("img", { src: URL.createObjectURL(file), alt: "" }) : null;
    const choice = (text, className, then) =>
      make("button", { type: "button", className, textContent: text, onclick: () => (box.close(), then?.()) });
    const apply = (what) => () => {
      toCreate();
      remember($("#prompt textarea")?.value ?? "");
      $("#drop .island, #drop.island").comfyTrigger("apply", { id: summary.id, what, draft: window.comfy.current() });
    };
    const box = dialog(
      "dropped", `Dropped: ${file.name}`,
      make("h2", { textContent: file.name }),
      make("div", { className: "dropped-about" }, picture, about(summary)),
      make(
        "div", { className: "acts" },
        summary.all && choice(summary.file ? "Open form" : "Apply all", "act primary", apply("all")),
        summary.needs && choice("Show requirements", "act", () => (toWorkflows(), showNeeds(summary.needs))),
        summary.prompt && choice("Prompt only", "act", apply("prompt")),
        summary.seed && choice("Seed only", "act", apply("seed")),
        input && choice("Use as input", "act", () => (toCreate(), give(input, file))),
        picture && window.comfy.sees() && choice("Describe it", "act", () => window.comfy.describe(file)),
        choice("Cancel", "act"),
      ),
    );
    box.addEventListener("close", () => picture && URL.revokeObjectURL(picture.src));
    $(".acts button", box)?.focus();
  }
  /** @param {Record<string, any>} summary what the server read from the file */
  function about(summary) {
    if (summary.error) return make("p", { className: "trouble", role: "alert", textContent: summary.error });
    if (!summary.source) return make("p", { textContent: "This file has no settings: websites and messengers often remove them." });
    const row = (name, text) => text && make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: text }));
    const prompt = summary.prompt?.length > 300 ? `${summary.prompt.slice(0, 299)}…` : summary.prompt;
    return make("dl", {}, row("Created with", summary.source), row("Form", summary.form), row("Prompt", prompt), row("Seed", summary.seed), row("LoRAs", summary.loras));
  }
  /**
   * Put a file into an upload field of the form.
   * @param {HTMLInputElement} input
   * @param {File} file
   */
  function give(input, file) {
    const carrier = new DataTransfer();
    carrier.items.add(file);
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    input.closest(".upload")?.scrollIntoView({ block: "nearest" });
  }
})();
