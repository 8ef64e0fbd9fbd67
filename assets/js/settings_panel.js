// @ts-check
// The settings of the running app on Status, for admins.
"use strict";
(() => {
  const { $, $$, ask, make, toast } = window.comfy.kit;

  async function show() {
    const answer = await fetch("admin/settings").catch(() => null);
    if (!answer?.ok) return;
    const { html } = await answer.json();
    for (const place of $$("[data-settings]")) {
      place.innerHTML = html;
      place.hidden = false;
      window.comfy.translate(place);
    }
  }
  /** @param {AnyElement} form */
  function valueOf(form) {
    const text = form.elements.value.value.trim();
    const { kind } = form.dataset;
    if (kind === "bool") return text === "yes";
    if (kind === "number" && text) return Number(text.replace(",", "."));
    return text || null;
  }
  /** @param {AnyElement} form @param {unknown} value */
  async function save(form, value) {
    const { name, kind } = form.dataset;
    const field = form.elements.value;
    if (kind === "number" && Number.isNaN(value)) return refused(form, "Enter a number.");
    if (kind === "secret" && value === "") return refused(form, "Enter the new value.");
    const said = await ask("admin/settings", { name, value });
    if (said.error) return refused(form, said.error);
    field.value = "";
    replace(form, said.row);
    const history = $("[data-part=settings-history]");
    const open = history.open;
    replace(history, said.history).open = open;
    $(`form[data-name="${name}"] [name=value]`)?.focus();
    toast("Saved");
  }
  /** @param {AnyElement} element @param {string} html */
  function replace(element, html) {
    const template = make("template", { innerHTML: html });
    const fresh = template.content.firstElementChild;
    element.replaceWith(fresh);
    window.comfy.translate(fresh);
    return fresh;
  }
  /** @param {AnyElement} form @param {string} text */
  function refused(form, text) {
    const place = $(".trouble", form);
    place.textContent = text;
    place.hidden = false;
    const field = form.elements.value;
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }
  document.addEventListener("submit", (/** @type {On<SubmitEvent>} */ event) => {
    if (event.target.dataset?.form !== "setting") return;
    event.preventDefault();
    const value = valueOf(event.target);
    save(event.target, event.target.dataset.kind === "secret" ? (value ?? "") : value);
  });
  Object.assign(window.comfy.actions, { "reset-setting": (button) => save(button.closest("form"), null) });
  window.comfy.onIsland((element) => {
    if (element.querySelector("[data-settings]")) show();
  });
})();
