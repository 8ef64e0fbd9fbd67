// @ts-check
// The rating, tags and collections of results: in the viewer, of a selection, and as filters.
"use strict";
(() => {
  const { $, $$, make, toast, post, dialog } = window.comfy.kit;

  /**
   * The user's tags and collections: names with their numbers of results.
   * @type {Record<string, [string, number][]>}
   */
  let labels = { tag: [], collection: [] };

  async function load() {
    const answer = await fetch("library/labels").catch(() => null);
    if (answer?.ok) show(await answer.json());
  }
  function show(found) {
    if (!found) return;
    labels = found;
    for (const kind of ["tag", "collection"]) {
      let list = $(`#known-${kind}s`);
      if (!list) document.body.append((list = make("datalist", { id: `known-${kind}s`, translate: false })));
      list.replaceChildren(...labels[kind].map(([name]) => make("option", { value: name })));
    }
    const select = $(".find")?.elements.collection;
    if (!select) return;
    const chosen = select.value;
    const options = labels.collection.map(([name, size]) => make("option", { value: name, textContent: `${name} (${size})`, translate: false }));
    select.replaceChildren(select.options[0], ...options);
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
    select.closest(".select").hidden = !options.length;
    chosenShown();
  }
  function chosenShown() {
    $("[data-do=rename-collection]").hidden = !$(".find").elements.collection.value;
  }

  const shownId = () => Number($("#viewer")?.dataset.item);

  /**
   * @param {AnyElement[]} thumbs
   * @param {number} rating
   */
  async function rate(thumbs, rating) {
    const done = await post("library/rate", { ...window.comfy.those(thumbs), rating });
    for (const id of done?.ids ?? []) {
      for (const tile of $$(`.library .tile[data-item="${id}"]`)) {
        if (rating) tile.dataset.rating = String(rating);
        else delete tile.dataset.rating;
      }
      if (id !== shownId()) continue;
      const stars = $("#viewer .stars");
      stars.dataset.rating = String(rating);
      for (const star of $$("button", stars)) star.ariaPressed = String(Number(star.dataset.rating) <= rating);
    }
  }

  /** Adds a chip, unless the result has one with this name. */
  function chip(group, name) {
    if ($$(".label", group).some((label) => nameOf(label).toLowerCase() === name.toLowerCase())) return;
    const find = make("button", { type: "button", translate: false, textContent: name });
    find.dataset.do = "find-label";
    const remove = make("button", { type: "button", ariaLabel: `Remove: ${name}`, title: "Remove", innerHTML: "&times;" });
    remove.dataset.do = "remove-label";
    $("input", group).before(make("span", { className: "label" }, find, remove));
  }
  const nameOf = (label) => $("[data-do=find-label]", label).textContent;

  async function add(input) {
    const group = input.closest(".labels");
    const names = input.value.split(",").map((name) => name.trim()).filter(Boolean);
    input.value = "";
    for (const name of names) {
      if (await post("library/label", { ids: [shownId()], kind: group.dataset.kind, name })) chip(group, name);
    }
    load();
  }

  /** Tags a selection, or puts it into a collection. @param {AnyElement[]} thumbs */
  function labelDialog(thumbs) {
    const those = window.comfy.those(thumbs);
    const count = thumbs.reduce((sum, thumb) => sum + Number($(".badge.count", thumb)?.textContent ?? 1), 0);
    const field = (kind, text, placeholder) => {
      const input = make("input", { type: "text", maxLength: 60, placeholder, autocomplete: "off" });
      input.setAttribute("list", `known-${kind}s`);
      const begin = async (/** @type {boolean} */ on) => {
        if (!input.value.trim()) return input.focus();
        const done = await post("library/label", { ...those, kind, name: input.value, on });
        if (!done) return;
        box.close();
        toast(on ? `${done.ids.length} added to ${input.value}` : `${done.ids.length} removed from ${input.value}`);
        await load();
        if (!on) window.comfy.library?.reload(); // the list may be of those that have it
      };
      input.onkeydown = (event) => void (event.key === "Enter" && begin(true));
      const act = (label, on, strong) => make("button", { type: "button", className: `act ${strong}`, textContent: label, onclick: () => begin(on) });
      return make("div", { className: "labeling" }, make("label", {}, make("span", { textContent: text }), input), make("div", { className: "acts" }, act("Add", true, "strong"), act("Remove", false, "")));
    };
    const box = dialog(
      "label-picked", "Tag or collect",
      make("h2", { textContent: count === 1 ? "1 result" : `${count} results` }),
      field("collection", "Collection", "New or existing"), field("tag", "Tag", "New or existing"),
    );
    $("input", box).focus();
  }

  function renameDialog() {
    const name = $(".find").elements.collection.value;
    const input = make("input", { type: "text", value: name, maxLength: 60, autocomplete: "off" });
    const rename = async (/** @type {string} */ newName) => {
      const found = await post("library/rename-label", { kind: "collection", name, new_name: newName });
      if (!found) return;
      box.close();
      show(found);
      const select = $(".find").elements.collection;
      select.value = newName;
      select.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const done = () => input.value.trim() && rename(input.value.trim());
    input.onkeydown = (event) => void (event.key === "Enter" && done());
    const box = dialog(
      "rename-collection", "Rename the collection",
      make("h2", { textContent: "Rename the collection" }),
      make("label", {}, make("span", { textContent: "Name" }), input),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act strong", textContent: "Rename", onclick: done }), make("button", { type: "button", className: "act danger", textContent: "Remove the collection", title: "Its results stay in the library", onclick: () => rename("") })),
    );
    input.select();
  }

  Object.assign(window.comfy.actions, {
    rate: (button) => rate([window.comfy.shownThumb()], button.closest(".stars").dataset.rating === button.dataset.rating ? 0 : Number(button.dataset.rating)),
    async "remove-label"(button) {
      const [label, group] = [button.closest(".label"), button.closest(".labels")];
      if (!(await post("library/label", { ids: [shownId()], kind: group.dataset.kind, name: nameOf(label), on: false }))) return;
      label.remove();
      $("input", group).focus();
      load();
    },
    "find-label"(button) {
      const kind = button.closest(".labels").dataset.kind;
      $("#viewer").close();
      window.comfy.actions["to-library"](button);
      window.comfy.library?.find(`${kind === "tag" ? "tag" : "in"}:"${button.textContent}"`);
    },
    "label-picked": () => labelDialog($$(".library .tile.on .thumb")),
    "rename-collection": renameDialog,
  });
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    if (event.key !== "Enter" || !event.target.matches?.(".labels input")) return;
    event.preventDefault();
    add(event.target);
  });
  document.addEventListener("change", (/** @type {On<Event>} */ event) => event.target.matches?.(".labels input") && add(event.target));
  document.addEventListener("input", (/** @type {On<Event>} */ event) => event.target.matches?.(".find [name=collection]") && chosenShown());
  Object.assign(window.comfy, { rate, loadLabels: load, chosenShown });
})();
