// @ts-check
// The Library tab: loads pages of results, sorts them by day, opens groups, keeps the selection.
"use strict";
(() => {
  const { $, $$, make, toast, post, dialog, toCreate, dialogOpen, typing, load, save } = window.comfy.kit;
  const { compare, star, drop, keys, starred } = window.comfy;

  const root = () => $(".library");
  const tiles = () => $$(".library .tile");
  const thumbOf = (tile) => $(".thumb", tile);
  /** Whether the tab shows deleted results. */
  const showsDeleted = () => root().classList.contains("deleted");
  /** The query of the next page; null if there is none. @type {Record<string, any> | null} */
  let next = null;
  /** The request in progress. @type {AbortController | null} */
  let asking = null;
  let loaded = false;
  /** The opened group, and the list behind it. @type {{ id: string, days: Element[], next: Record<string, any> | null, top: number } | null} */
  let group = null;
  /** The tile from which Shift selects. @type {AnyElement} */
  let anchor = null;

  // ---- what is asked for ---------------------------------------------------------------------

  const DAY_S = 86400;
  function midnight(daysAgo = 0) {
    const day = new Date();
    day.setHours(0, 0, 0, 0);
    day.setDate(day.getDate() - daysAgo);
    return day.getTime() / 1000;
  }
  /** Whether the order is not that of creation: there are no days then. */
  const sorted = () => !group && !showsDeleted() && !["newest", "oldest"].includes($(".find").elements.sort.value);
  /** The fields of the search form that are set. @returns {Record<string, string>} */
  function fields() {
    const chosen = Object.fromEntries(new FormData($(".find")).entries());
    if (chosen.when !== "days") chosen.from = chosen.to = "";
    if (chosen.sort === "newest") chosen.sort = "";
    return Object.fromEntries(Object.entries(chosen).flatMap(([name, value]) => (String(value).trim() ? [[name, String(value).trim()]] : [])));
  }
  /** Show the results of a search. @param {Record<string, string>} wanted */
  function setFields(wanted) {
    const form = $(".find");
    form.reset();
    for (const [name, value] of Object.entries(wanted)) {
      const field = form.elements[name];
      if (field?.type === "checkbox") field.checked = true;
      else if (field) {
        if (field.options && ![...field.options].some((option) => option.value === value)) field.append(make("option", { value, textContent: value, translate: false }));
        field.value = value;
      }
    }
    whenShown();
    window.comfy.chosenShown();
    reload();
  }
  function asked() {
    if (showsDeleted()) return {};
    if (group) return { group_id: group.id };
    const form = $(".find").elements;
    const text = [form.text.value.trim()];
    if (form.rating.value) text.push(`stars>=${form.rating.value}`);
    if (form.collection.value) text.push(`in:"${form.collection.value}"`);
    const wanted = { text: text.filter(Boolean).join(" "), kind: form.kind.value, preset: form.preset.value };
    if (form.starred.checked) wanted.starred = "true";
    if (form.sort.value !== "newest") wanted.sort = form.sort.value;
    if (form.when.value === "days") {
      if (form.from.value) wanted.since = new Date(`${form.from.value}T00:00`).getTime() / 1000;
      if (form.to.value) wanted.until = new Date(`${form.to.value}T00:00`).getTime() / 1000 + DAY_S;
    } else if (form.when.value) wanted.since = midnight(Number(form.when.value) - 1);
    return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value));
  }

  // comfy_ui/storage/search_terms.py
  const LANGUAGE = [
    ['"at dawn"', "These words, one after the other"],
    ["-fog", "Not this word"],
    ["model:flux", "A model file, also without its folder and ending"],
    ["lora:ink", "A LoRA"],
    ["preset:sdxl", "A preset"],
    ["seed:42", "A seed"],
    ["kind:video", "image, video, audio or 3d"],
    ["is:starred", "Starred"],
    ["stars>=4", "4 stars or more"],
    ["tag:sea", "A tag"],
    ['in:"summer show"', "A collection"],
    ["after:2026-11", "From this year, month or day on"],
    ["before:2026-11-05", "Before it"],
    ["on:2026-11-05", "On that day, in that month or year"],
  ];
  window.comfy.actions["search-help"] = () => {
    const rows = LANGUAGE.map(([text, what]) => {
      const use = () => {
        const box = $(".find [name=text]");
        box.value = `${box.value.trim()} ${text}`.trim();
        box.dispatchEvent(new Event("input", { bubbles: true }));
        dialogOpen()?.close();
        box.focus();
      };
      const button = make("button", { type: "button", className: "act", onclick: use, translate: false, textContent: text });
      return make("div", {}, make("dt", {}, button), make("dd", { textContent: what }));
    });
    dialog("search-help", "How to search", make("h2", { textContent: "How to search" }), make("dl", {}, ...rows));
  };

  // ---- loading -------------------------------------------------------------------------------

  /** @param {Record<string, any>} wanted */
  async function page(wanted) {
    asking?.abort();
    const mine = (asking = new AbortController());
    try {
      const answer = await fetch(`library${showsDeleted() ? "/deleted" : ""}?${new URLSearchParams(wanted)}`, { signal: mine.signal });
      if (!answer.ok) throw new Error(answer.status === 401 ? "Your session has ended. Reload the page to log in." : "The library did not respond");
      return await answer.json();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (error.name !== "AbortError") toast(error instanceof TypeError ? "Connection lost" : error.message, "Try again", reload);
      return null;
    } finally {
      if (asking === mine) asking = null;
    }
  }
  async function reload() {
    const found = await page(asked());
    if (!found) return;
    $(".library .days").replaceChildren();
    $(".library .group-head").innerHTML = found.head ?? "";
    next = found.next;
    append(found.html);
    loaded = true;
    changed();
  }
  async function more() {
    if (next === null || asking) return;
    const found = await page({ ...asked(), ...next });
    if (!found) return;
    next = found.next;
    append(found.html);
    changed();
  }
  // Results that arrived in the meantime go on top; the scroll position stays.
  async function refresh() {
    if (!loaded || showsDeleted()) return reload();
    if (asked().sort) return scrollY < innerHeight ? reload() : undefined; // new ones may be anywhere
    const newest = Number(tiles()[0]?.dataset.item ?? 0);
    const found = await page(asked());
    if (!found) return;
    const arrived = parsed(found.html);
    const fresh = arrived.filter((tile) => Number(tile.dataset.item) > newest);
    if (fresh.length === arrived.length && arrived.length) return reload();
    const known = new Set(arrived.map((tile) => tile.dataset.item));
    const last = Number(arrived.at(-1)?.dataset.item ?? 0);
    for (const tile of tiles()) {
      if (Number(tile.dataset.item) >= last && !known.has(tile.dataset.item)) tile.remove(); // deleted elsewhere
    }
    for (const tile of fresh.reverse()) dayOf(tile, true).prepend(tile);
    changed();
  }
  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return $$(".tile", template.content);
  }
  function append(html) {
    for (const tile of parsed(html)) dayOf(tile, false).append(tile);
  }
  function dayOf(tile, first) {
    const date = new Date(tile.dataset.at * 1000);
    const key = sorted() ? "all" : date.toDateString();
    const days = $$(".library .day");
    const day = first ? days[0] : days.at(-1);
    if (day?.dataset.day === key) return $(".thumbs", day);
    const ago = Math.round((midnight() - new Date(date).setHours(0, 0, 0, 0) / 1000) / DAY_S);
    const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
    const name = ago === 0 ? "Today" : ago === 1 ? "Yesterday" : date.toLocaleDateString([], { weekday: ago < 7 ? "long" : undefined, day: "numeric", month: "long", year });
    const list = make("ul", { className: "thumbs" });
    const made = make("section", { className: "day" }, ...(sorted() ? [] : [make("h2", { textContent: name })]), list);
    made.dataset.day = key;
    if (first) $(".library .days").prepend(made);
    else $(".library .days").append(made);
    return list;
  }
  function changed() {
    const box = root();
    if (!box) return;
    const some = Boolean($(".tile", box));
    box.classList.toggle("empty", loaded && !some && next === null);
    box.classList.toggle("searched", Object.keys(asked()).length > 0);
    $(".more", box).hidden = next === null;
    for (const day of $$(".day", box)) day.hidden = !$(".tile", day);
    const all = tiles();
    if (all.length && !all.some((tile) => thumbOf(tile).tabIndex === 0)) thumbOf(all[0]).tabIndex = 0;
    selectionShown();
    window.comfy.searchesMarked();
    if (next !== null && some && $(".more", box).getBoundingClientRect().top < innerHeight + 800) more();
  }
  function nearEnd(thumb) {
    if (thumb.closest(".library") && tiles().slice(-12).includes(thumb.closest(".tile"))) more();
  }
  async function presets() {
    const answer = await fetch("library/presets").catch(() => null);
    if (!answer?.ok) return;
    const select = $(".find").elements.preset;
    const chosen = select.value;
    const options = (await answer.json()).map(([id, title]) => make("option", { value: id, textContent: title, translate: false }));
    select.replaceChildren(select.options[0], ...options);
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
  }

  // ---- what is kept --------------------------------------------------------------------------

  async function kept() {
    const answer = await fetch("library/space").catch(() => null);
    if (!answer?.ok) return;
    const { text, imports } = await answer.json();
    $(".library .kept").textContent = text;
    $("[data-do=import-folder]", root()).hidden = !imports;
  }
  window.comfy.actions["to-library"] = () => {
    $("#tabs button[role=tab][data-tab-id=library]")?.click();
    scrollTo({ top: 0 });
  };
  // ---- selection -----------------------------------------------------------------------------

  const picked = () => $$(".library .tile.on");
  function pick(tile, on = !tile.classList.contains("on")) {
    tile.classList.toggle("on", on);
    $(".pick", tile).setAttribute("aria-checked", String(on));
    anchor = tile;
  }
  function pickTo(tile) {
    const all = tiles();
    const [from, to] = [all.indexOf(anchor ?? tile), all.indexOf(tile)].sort((a, b) => a - b);
    for (const between of all.slice(Math.max(0, from), to + 1)) pick(between, true);
  }
  function unpick() {
    for (const tile of picked()) pick(tile, false);
    root().classList.toggle("picking", showsDeleted());
    selectionShown();
  }
  function selectionShown() {
    const chosen = picked();
    const bar = $(".library .selection");
    const picking = root().classList.contains("picking");
    bar.hidden = !chosen.length && (!picking || showsDeleted());
    $(".gradio-container").toggleAttribute("data-selecting", !bar.hidden); // toasts are above it
    root().classList.toggle("some", chosen.length > 0);
    $("[data-do=picking]", root()).setAttribute("aria-pressed", String(picking));
    const text = chosen.length ? `${chosen.length} selected` : "None selected";
    if ($(".picked", bar).textContent !== text) $(".picked", bar).textContent = text;
    const pictures = chosen.filter((tile) => thumbOf(tile).dataset.kind === "image");
    $("[data-do=compare-picked]", bar).disabled = chosen.length !== 2 || pictures.length !== 2;
    for (const name of ["star", "label", "share", "zip", "delete", "restore", "delete-forever"]) $(`[data-do=${name}-picked]`, bar).disabled = !chosen.length;
  }

  // ---- groups --------------------------------------------------------------------------------

  function openGroup(id) {
    $("#toast")?.remove(); // Undo would change the list unseen
    unpick();
    group = { id, days: [...$(".library .days").children], next, top: scrollY };
    root().classList.add("in-group");
    reload().then(() => $(".library [data-do=close-group]")?.focus({ preventScroll: true }));
    scrollTo({ top: 0 });
  }
  function closeGroup() {
    if (!group) return;
    const { id, days, top } = group;
    $("#toast")?.remove();
    unpick();
    next = group.next;
    group = null;
    root().classList.remove("in-group");
    $(".library .days").replaceChildren(...days);
    changed();
    scrollTo({ top });
    refresh();
    const tile = $(`.library .tile[data-group="${id}"]`);
    if (tile) thumbOf(tile).focus({ preventScroll: true });
  }

  // ---- deleted results -----------------------------------------------------------------------

  /** @param {boolean} deleted */
  function show(deleted) {
    $("#toast")?.remove(); // Undo would change the list unseen
    unpick();
    root().classList.toggle("deleted", deleted);
    root().classList.toggle("picking", deleted); // a click selects: the viewer has no deleted results
    reload();
    scrollTo({ top: 0 });
  }
  /**
   * @param {string} path
   * @param {(count: number) => string} message
   */
  async function endDeleted(path, message) {
    const chosen = picked();
    const done = await post(path, { ids: chosen.map((tile) => Number(tile.dataset.item)) });
    if (!done) return;
    for (const tile of chosen) tile.remove();
    changed();
    kept();
    window.comfy.refreshStage();
    toast(message(done.ids.length));
  }
  function confirmDeleteForever() {
    const count = picked().length;
    const confirmed = () => {
      box.close();
      endDeleted("library/delete-forever", (number) => `${number} deleted forever`);
    };
    const box = dialog(
      "confirm-delete", "Delete forever?",
      make("h2", { textContent: "Delete forever?" }),
      make("p", { className: "quiet", textContent: count === 1 ? "1 result is deleted now. This cannot be undone." : `${count} results are deleted now. This cannot be undone.` }),
      make("div", { className: "acts" }, make("button", { type: "button", className: "act danger", textContent: "Delete forever", onclick: confirmed }), make("button", { type: "button", className: "act", textContent: "Cancel", onclick: () => box.close() })),
    );
  }

  Object.assign(window.comfy.actions, {
    "show-deleted": () => show(true),
    "show-kept": () => show(false),
    "restore-picked": () => endDeleted("library/restore", (number) => `${number} restored`),
    "delete-forever-picked": confirmDeleteForever,
    pick(button, event) {
      const tile = button.closest(".tile");
      if (event.shiftKey) pickTo(tile);
      else pick(tile);
      selectionShown();
    },
    star: (button) => star([thumbOf(button.closest(".tile"))], button.ariaPressed !== "true"),
    picking() {
      if (root().classList.toggle("picking")) selectionShown();
      else unpick();
    },
    unpick,
    "star-picked"() {
      const thumbs = picked().map(thumbOf);
      star(thumbs, !thumbs.every(starred));
    },
    "zip-picked"() {
      const ids = picked().map((tile) => tile.dataset.item);
      const groups = picked().map((tile) => tile.dataset.group).filter(Boolean);
      make("a", { href: `library/zip?ids=${ids}${groups.length ? `&groups=${groups}` : ""}`, download: "comfy-ui.zip" }).click();
    },
    "delete-picked"() {
      drop(picked().map(thumbOf));
      unpick();
    },
    "compare-picked"() {
      const [a, b] = picked().map(thumbOf);
      compare(a, b);
    },
    "close-group": closeGroup,
    "to-create": toCreate,
    "clear-search"() {
      setFields({});
    },
  });

  // ---- events --------------------------------------------------------------------------------

  function whenShown() {
    $(".find .days-range").hidden = $(".find").elements.when.value !== "days";
  }
  let soon;
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (!event.target.closest?.(".find")) return;
    $(".find .filters").scrollLeft = 0; // on a phone: the ones in use are its first
    whenShown();
    clearTimeout(soon);
    soon = setTimeout(reload, event.target.type === "search" ? 140 : 0);
  });
  document.addEventListener("submit", (/** @type {On<SubmitEvent>} */ event) => event.target.matches(".find") && event.preventDefault());

  // In picking mode, and with Ctrl or Shift, a click selects; before the viewer hears of it.
  document.addEventListener(
    "click",
    (/** @type {On<MouseEvent>} */ event) => {
      const tile = event.target.closest?.(".library .thumb")?.closest(".tile");
      if (!tile) return;
      const range = event.shiftKey;
      const picks = range || event.ctrlKey || event.metaKey || root().classList.contains("picking");
      if (!picks && !tile.dataset.group) return;
      event.preventDefault();
      event.stopPropagation();
      if (!picks) return openGroup(tile.dataset.group);
      if (range) pickTo(tile);
      else pick(tile);
      selectionShown();
    },
    true,
  );

  function step(all, tile, key) {
    const at = all.indexOf(tile);
    if (key === "ArrowLeft") return all[at - 1];
    if (key === "ArrowRight") return all[at + 1];
    if (key === "Home") return all[0];
    if (key === "End") return all.at(-1);
    const { left, top } = tile.getBoundingClientRect();
    const down = key === "ArrowDown";
    const rows = all.slice(down ? at + 1 : 0, down ? undefined : at).map((other) => ({ other, box: other.getBoundingClientRect() }));
    const beyond = rows.filter(({ box }) => (down ? box.top > top + 4 : box.top < top - 4));
    const nearest = down ? Math.min(...beyond.map(({ box }) => box.top)) : Math.max(...beyond.map(({ box }) => box.top));
    return beyond.filter(({ box }) => Math.abs(box.top - nearest) < 4).sort((a, b) => Math.abs(a.box.left - left) - Math.abs(b.box.left - left))[0]?.other;
  }
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    if (!root()?.offsetParent || dialogOpen() || typing(event.target)) return;
    const all = tiles();
    const tile = event.target.closest?.(".tile");
    if (event.key === "Escape" && !$(".library .selection").hidden) return unpick();
    if (event.key === "Escape" && group) return closeGroup();
    if (event.key === "/") {
      event.preventDefault();
      event.stopImmediatePropagation();
      return $(".find").elements.text.focus();
    }
    if (/^(Arrow|Home|End)/.test(event.key) && (event.key === "ArrowDown" || !event.target.closest?.("[role=tablist]"))) {
      const to = tile ? step(all, tile, event.key) : all[0];
      if (!to) return;
      event.preventDefault();
      for (const other of all) thumbOf(other).tabIndex = other === to ? 0 : -1;
      thumbOf(to).focus();
      to.scrollIntoView({ block: "nearest" });
      nearEnd(thumbOf(to));
    } else if (!tile) {
      return;
    } else if (event.key === " ") {
      event.preventDefault();
      pick(tile);
      selectionShown();
    } else if (showsDeleted()) {
      return;
    } else if ((event.key === "Delete" || event.key === "Backspace") && picked().length) {
      drop(picked().map(thumbOf));
      unpick();
    } else if (keys(event, thumbOf(tile))) event.preventDefault();
  });

  // ---- the size of thumbnails ----------------------------------------------------------------

  const SIZE = "library-thumbnails";
  /** @param {string} size 1 to 3 */
  function resize(size) {
    root().dataset.size = size;
    $(".tile-size input").value = size;
  }
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (!event.target.matches?.(".tile-size input")) return;
    save(SIZE, event.target.value);
    resize(event.target.value);
  });

  // The frame appears when its tab is opened first, and again and again after that.
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    refresh();
    presets();
    window.comfy.loadLabels();
    window.comfy.loadSearches();
    kept().then(window.comfy.folderImport.look);
  });
  const end = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && loaded && more(), { rootMargin: "1000px" });
  window.comfy.onIsland((element) => {
    const box = $(".library", element);
    if (!box) return;
    loaded = false;
    group = null;
    resize(load(SIZE, "2"));
    seen.observe(box);
    end.observe($(".more", box));
  });
  /** Shows the results of a search. @param {string} text */
  function find(text) {
    setFields({ text });
  }
  window.comfy.library = { nearEnd, find, fields, setFields, reload, changed: () => root() && changed(), imported: () => reload().then(kept).then(presets), refresh: () => root()?.offsetParent && refresh() };
})();
