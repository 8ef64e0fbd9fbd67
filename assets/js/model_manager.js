// @ts-check
// The panel "Models" on Status: search and sort here, changes on the server.
"use strict";
(() => {
  const { $, $$, dialog, draw, make, post, toast } = window.comfy.kit;
  /** @typedef {{ html: string, active: boolean, deleted?: string, broken?: string[] }} Models */
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let published = "";
  let query = "";
  let order = "folder";
  const AGAIN_MS = 2000;

  const place = () => $("[data-model-files]");

  /** @param {Models | null} answer */
  function take(answer) {
    if (!answer?.html || !place()) return;
    const open = new Set($$("details[open]", place()).map(named));
    draw(place(), answer.html);
    for (const one of $$("details", place())) one.open = open.has(named(one));
    showPublished();
    arrange();
    clearTimeout(timer);
    if (answer.active) timer = setTimeout(show, 1000);
  }
  /** @param {AnyElement} details */
  const named = (details) => details.closest("[data-id]")?.dataset.id ?? "trash";

  async function show() {
    clearTimeout(timer);
    if (document.hidden) return (timer = setTimeout(show, 1000));
    const answer = await fetch("model-files").catch(() => null);
    if (answer?.ok) take(await answer.json());
    else if (answer?.status !== 401 && place()?.offsetParent) timer = setTimeout(show, AGAIN_MS);
  }
  /** Change the setting, as under Settings. @param {string | null} value */
  async function saveToken(value) {
    if (await post("admin/settings", { name: "hf_token", value })) await show();
  }
  function showPublished() {
    const found = $("[data-published]", place());
    if (found) draw(found, published);
  }
  // Sorted and filtered in the browser: the list is complete and typing must not wait.
  function arrange() {
    const list = $(".model-files", place());
    if (!list) return;
    $("[data-model-search]", place()).value = query;
    $("[data-model-sort]", place()).value = order;
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (/** @type {AnyElement} */ row) => row.dataset.id;
    const name = (/** @type {AnyElement} */ row) => row.dataset.id.split("/").slice(1).join("/");
    /** @type {Record<string, (a: AnyElement, b: AnyElement) => number>} */
    const orders = {
      folder: (a, b) => text(a).localeCompare(text(b)),
      name: (a, b) => name(a).localeCompare(name(b)),
      size: (a, b) => Number(b.dataset.bytes) - Number(a.dataset.bytes),
      unused: (a, b) => Number(a.dataset.users) - Number(b.dataset.users) || Number(b.dataset.bytes) - Number(a.dataset.bytes),
    };
    const rows = $$("li", list).sort(orders[order]);
    for (const row of rows) row.hidden = !words.every((word) => row.dataset.text.toLowerCase().includes(word));
    list.append(...rows);
    $("[data-no-models]", place()).hidden = rows.some((row) => !row.hidden);
  }
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (event.target.matches?.("[data-model-search]")) query = event.target.value;
    else if (event.target.matches?.("[data-model-sort]")) order = event.target.value;
    else return;
    arrange();
  });
  document.addEventListener("submit", async (/** @type {On<SubmitEvent>} */ event) => {
    if (event.target.dataset.form !== "hub-token") return;
    event.preventDefault();
    saveToken(String(new FormData(event.target).get("token")).trim());
  });
  document.addEventListener("submit", async (/** @type {On<SubmitEvent>} */ event) => {
    if (event.target.dataset.form !== "look-up-model") return;
    event.preventDefault();
    const button = $("button", event.target);
    button.disabled = true;
    const answer = await post("model-files/look-up", { address: new FormData(event.target).get("address") });
    button.disabled = false;
    if (!answer) return;
    published = answer.html;
    showPublished();
  });
  /**
   * @param {string} id
   * @param {boolean} confirmed
   */
  async function remove(id, confirmed) {
    const answer = await post("model-files/delete", { id, confirmed });
    if (answer?.broken) return confirmDelete(id, answer.broken);
    take(answer);
    if (answer) toast("Deleted", "Undo", async () => take(await post("model-files/restore", { id: answer.deleted })));
  }
  /**
   * @param {string} id
   * @param {string[]} presets
   */
  function confirmDelete(id, presets) {
    const confirmed = () => {
      box.close();
      remove(id, true);
    };
    const box = dialog(
      "confirm-delete", "Delete model?",
      make("h2", { textContent: "Delete model?" }),
      make("p", { textContent: "Without it, these presets no longer run:" }),
      make("ul", {}, ...presets.map((title) => make("li", { textContent: title }))),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act danger", textContent: "Delete", onclick: confirmed }), make("button", { type: "button", className: "act", textContent: "Cancel", onclick: () => box.close() })),
    );
    box.showModal();
  }
  function confirmEmpty() {
    const confirmed = async () => {
      box.close();
      take(await post("model-files/empty-trash", {}));
    };
    const box = dialog(
      "confirm-delete", "Delete forever?",
      make("h2", { textContent: "Delete forever?" }),
      make("p", { className: "quiet", textContent: "The deleted model files are removed from the disk. This cannot be undone." }),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act danger", textContent: "Delete forever", onclick: confirmed }), make("button", { type: "button", className: "act", textContent: "Cancel", onclick: () => box.close() })),
    );
    box.showModal();
  }
  Object.assign(window.comfy.actions, {
    "delete-model": (button) => remove(button.dataset.id, false),
    async "forget-hub-token"() {
      await saveToken(null);
    },
    async "restore-model"(button) {
      take(await post("model-files/restore", { id: button.dataset.id }));
    },
    "empty-model-trash": confirmEmpty,
    async "move-model"(button) {
      const to = $("[data-folder]", button.closest(".acts")).value;
      const answer = await post("model-files/move", { id: button.dataset.id, to });
      take(answer);
      if (answer) toast("Moved");
    },
    async "find-duplicates"() {
      take(await post("model-files/duplicates", {}));
    },
    async "stop-duplicates"() {
      take(await post("model-files/stop-search", {}));
    },
  });
  // Listing large folders takes a while, so it begins when Status is on the screen.
  const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && show());
  window.comfy.onIsland((element) => {
    const here = element.querySelector("[data-model-files]");
    if (here) seen.observe(here);
  });
})();
