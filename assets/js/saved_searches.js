// @ts-check
// Saved searches of the Library: chips above the results.
"use strict";
(() => {
  const { $, $$, make, post, dialog } = window.comfy.kit;

  /** @type {Record<string, Record<string, string>>} */
  let searches = {};

  const sameFields = (a, b) => JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort());

  async function load() {
    const answer = await fetch("library/searches").catch(() => null);
    if (answer?.ok) show(await answer.json());
  }
  function show(found) {
    if (!found) return;
    searches = found;
    $(".searches .chips")?.replaceChildren(
      ...Object.keys(searches).map((name) => {
        const use = make("button", { type: "button", translate: false, textContent: name });
        use.dataset.do = "use-search";
        const remove = make("button", { type: "button", ariaLabel: `Remove: ${name}`, title: "Remove", innerHTML: "&times;" });
        remove.dataset.do = "remove-search";
        return make("span", { className: "label" }, use, remove);
      }),
    );
    marked();
  }
  /** Shows which search is in use, and whether there is one to save. */
  function marked() {
    const box = $(".searches");
    if (!box) return;
    const fields = window.comfy.library?.fields() ?? {};
    let saved = false;
    for (const chip of $$(".label", box)) {
      const on = sameFields(searches[nameOf(chip)] ?? {}, fields);
      $("[data-do=use-search]", chip).ariaPressed = String(on);
      saved ||= on;
    }
    $("[data-do=save-search]", box).hidden = saved || !Object.keys(fields).length;
    box.hidden = !Object.keys(searches).length && $("[data-do=save-search]", box).hidden;
  }
  const nameOf = (chip) => $("[data-do=use-search]", chip).textContent;

  function saveDialog() {
    const fields = window.comfy.library?.fields() ?? {};
    const input = make("input", { type: "text", value: fields.text ?? "", maxLength: 60, autocomplete: "off" });
    const done = async () => {
      if (!input.value.trim()) return input.focus();
      const found = await post("library/save-search", { name: input.value, fields });
      if (!found) return;
      box.close();
      show(found);
    };
    input.onkeydown = (event) => void (event.key === "Enter" && done());
    const box = dialog(
      "save-search", "Save the search",
      make("h2", { textContent: "Save the search" }),
      make("label", {}, make("span", { textContent: "Name" }), input),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act strong", textContent: "Save", onclick: done })),
    );
    input.select();
  }

  Object.assign(window.comfy.actions, {
    "save-search": saveDialog,
    "use-search"(button) {
      const used = button.ariaPressed === "true";
      window.comfy.library?.setFields(used ? {} : searches[button.textContent]);
    },
    async "remove-search"(button) {
      show(await post("library/delete-search", { name: nameOf(button.closest(".label")) }));
    },
  });
  Object.assign(window.comfy, { searchesMarked: marked, loadSearches: load });
})();
