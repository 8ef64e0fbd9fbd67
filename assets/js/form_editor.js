// @ts-check
// The editor of a form on the Workflows tab: fields in their order, a preview, earlier versions.
"use strict";
(() => {
  const { $, $$, ask, make, post, toast } = window.comfy.kit;
  const { show, getJson, sendFile, refreshReport } = window.comfy.workflows;

  const editor = () => $(".form-editor");
  /** The editor's state as the server takes it. @param {AnyElement} element */
  function edit(element) {
    const fields = $$(".form-row", element).map((/** @type {AnyElement} */ row) => {
      /** @type {Record<string, unknown>} */
      const field = { id: row.dataset.id };
      for (const input of $$("[data-edit]", row)) {
        const text = input.value;
        // A number that is none is sent as text, so that the server names the field.
        const number = input.dataset.number === undefined ? NaN : Number(text.replace(",", "."));
        field[input.dataset.edit] = input.dataset.number === undefined ? text : text.trim() === "" ? null : isNaN(number) ? text : number;
      }
      return field;
    });
    return { title: $("#form-title").value, description: $("#form-description").value, fields };
  }

  let asked = 0; // the number of the newest preview
  let timer = 0;
  async function preview() {
    const element = editor();
    if (!element) return;
    const number = ++asked;
    const answer = await ask("workflows/form", { id: element.dataset.formId, form: edit(element), preview: true });
    if (number !== asked || !element.isConnected) return;
    $("#form-trouble").textContent = answer.error ?? "";
    if (!answer.html) return;
    const fresh = make("template", { innerHTML: answer.html }).content;
    // The same fields are on Create: only there they have names and ids.
    for (const part of fresh.querySelectorAll("[id], [for], [name]")) {
      for (const name of ["id", "for", "name"]) part.removeAttribute(name);
    }
    for (const slider of /** @type {NodeListOf<HTMLInputElement>} */ (fresh.querySelectorAll("input[type=range]"))) {
      const [low, high] = [Number(slider.min), Number(slider.max)];
      slider.style.setProperty("--part", `${(100 * (Number(slider.value) - low)) / (high - low || 1)}%`);
    }
    const form = fresh.querySelector("form");
    if (!form) return;
    const copy = make("div", { className: "settings" }, ...form.childNodes);
    window.comfy.translate(copy);
    $(".form-preview", element).replaceChildren(copy);
  }
  function changed() {
    const element = editor();
    if (!element) return;
    element.dataset.changed = "";
    clearTimeout(timer);
    timer = window.setTimeout(preview, 300);
  }
  /** @param {string} html */
  function open(html) {
    show(html);
    for (const time of $$(".versions time")) time.textContent = new Date(1000 * time.dataset.at).toLocaleString(document.documentElement.lang);
    preview();
    window.comfy.workflows.toReport();
  }
  const listChanged = () => $("#sources .island, #sources.island")?.comfyTrigger("saved", {});

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    const row = event.target.closest?.(".form-row");
    if (row && event.target.dataset.edit === "place") row.dataset.place = event.target.value;
    if (event.target.closest?.(".form-editor")) changed();
  });
  document.addEventListener("change", async (/** @type {On<Event>} */ event) => {
    const [file] = (event.target.dataset?.formCover !== undefined && event.target.files) || [];
    if (!file) return;
    const answer = await sendFile("workflows/cover", file, { id: editor().dataset.formId });
    event.target.value = "";
    toast(answer.error ?? "Cover saved");
    listChanged();
  });

  window.comfy.actions["use-as-cover"] = async ({ dataset }) => {
    const { preset, item } = dataset;
    if (!(await post(`workflows/cover?${new URLSearchParams({ id: preset, item })}`, {}))) return;
    toast("Cover saved");
    listChanged();
  };

  /** Moves a row and keeps the focus on what moved it. @param {AnyElement} control @param {number} step */
  function move(control, step) {
    const row = control.closest(".form-row");
    const other = step < 0 ? row.previousElementSibling : row.nextElementSibling;
    if (!other) return;
    if (step < 0) other.before(row);
    else other.after(row);
    control.focus();
    row.scrollIntoView({ block: "nearest" });
    changed();
  }
  Object.assign(window.comfy.actions, {
    none() {},
    async "edit-form"(button) {
      const answer = await getJson(`workflows/form?${new URLSearchParams({ id: button.dataset.id })}`);
      if (answer) open(answer.html);
      else toast("That did not work");
    },
    "leave-form"(button) {
      const leave = () => refreshReport(button.dataset.id);
      if (editor().dataset.changed === undefined) leave();
      else toast("Changes are not saved", "Discard them", leave);
    },
    "field-up": (button) => move(button, -1),
    "field-down": (button) => move(button, 1),
    async "save-form"() {
      const element = editor();
      const answer = await ask("workflows/form", { id: element.dataset.formId, form: edit(element) });
      $("#form-trouble").textContent = answer.error ?? "";
      if (!answer.html) return;
      show(answer.html);
      toast("Form saved");
      listChanged();
    },
    async "change-preset"(button) {
      const { change, version = "0" } = button.dataset;
      const answer = await post("workflows/change", { id: button.closest("[data-form-id]").dataset.formId, change, version: Number(version) });
      if (!answer) return;
      open(answer.html);
      if (change !== "delete") toast(change === "restore" ? "Version restored" : "Preset duplicated");
      listChanged();
    },
  });

  /** The row that is dragged. @type {AnyElement | null} */
  let dragged = null;
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !event.target.matches?.(".form-row .grip")) return;
    event.preventDefault();
    move(event.target, step);
  });
  document.addEventListener("pointerdown", (/** @type {On<PointerEvent>} */ event) => {
    const grip = event.target.closest?.(".form-row .grip");
    if (!grip || event.button) return;
    event.preventDefault();
    grip.focus();
    dragged = grip.closest(".form-row");
    dragged?.classList.add("dragged");
  });
  document.addEventListener("pointermove", (/** @type {On<PointerEvent>} */ event) => {
    if (!dragged) return;
    const row = dragged;
    const after = $$(".form-row", row.parentElement).find((/** @type {AnyElement} */ other) => {
      const { top, height } = other.getBoundingClientRect();
      return other !== row && event.clientY < top + height / 2;
    });
    if (after) after.before(row);
    else row.parentElement.append(row);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, () => {
      if (!dragged) return;
      dragged.classList.remove("dragged");
      dragged = null;
      changed();
    });
  }
})();
