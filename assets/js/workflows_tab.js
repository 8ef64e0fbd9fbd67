// Workflows: files in, their forms out; and the dialog that asks what a dropped file is for.
"use strict";
(() => {
  const { $, make, dialog, flash, remember } = window.comfy.kit;
  const ear = (id) => $(`#${id} .island, #${id}.island`);
  const shown = (id) => Boolean($(`#${id}`)?.getClientRects().length);

  async function sendFile(path, file, query = { name: file.name }) {
    try {
      const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { method: "POST", body: file });
      const told = await answer.json();
      return answer.ok ? told : { error: told.error ?? "That did not work." };
    } catch {
      return { error: "The connection is lost. Try again." };
    }
  }

  // ---- the tab -------------------------------------------------------------------------------

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
  let awaited = null; // what to show when the tab is there: Gradio draws it at the first visit
  function showNeeds(id) {
    const sources = ear("sources");
    awaited = sources ? null : id;
    sources?.comfyTrigger("show", { id });
    if (matchMedia("(max-width: 860px)").matches) $("#opened-side")?.scrollIntoView({ block: "start" });
  }
  document.addEventListener("change", (event) => {
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

  // A link to one form wins over what the browser has kept; once, so that a reload keeps edits.
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

  // A list that is drawn anew keeps the groups open that somebody has opened, and stays filtered.
  const unfolded = new Map();
  document.addEventListener("toggle", ({ target }) => {
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

  // ---- dropping ------------------------------------------------------------------------------

  const where = () => (shown("workflows") ? "workflows" : shown("create") ? "create" : null);
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  let over;
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event) || !where() || event.target.closest?.(".upload")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
    clearTimeout(over);
    over = setTimeout(() => document.body.classList.remove("dropping"), 300);
  });
  document.addEventListener("drop", (event) => {
    const place = where();
    if (!hasFile(event) || !place || event.target.closest?.(".upload")) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer.files[0];
    if (!file) return;
    if (place === "workflows") openWorkflow(file);
    else askAbout(file);
  });

  async function askAbout(file) {
    const told = await sendFile("drops", file);
    const kind = file.type.split("/")[0];
    const input = $(`#form .upload[data-upload-kind="${CSS.escape(kind)}"] input[type=file]`);
    const picture = kind === "image" ? make("img", { src: URL.createObjectURL(file), alt: "" }) : null;
    const choice = (text, className, then) =>
      make("button", { type: "button", className, textContent: text, onclick: () => (box.close(), then?.()) });
    const apply = (what) => () => {
      remember($("#prompt textarea")?.value ?? "");
      ear("drop").comfyTrigger("apply", { id: told.id, what, draft: window.comfy.current() });
    };
    const box = dialog(
      "dropped", `Dropped: ${file.name}`,
      make("h2", { textContent: file.name }),
      make("div", { className: "dropped-about" }, picture, about(told)),
      make(
        "div", { className: "acts" },
        told.all && choice(told.file ? "Open its form" : "Apply all", "act primary", apply("all")),
        told.needs && choice("See what it needs", "act", () => (toWorkflows(), showNeeds(told.needs))),
        told.prompt && choice("Prompt only", "act", apply("prompt")),
        told.seed && choice("Seed only", "act", apply("seed")),
        input && choice("Use as input", "act", () => give(input, file)),
        picture && window.comfy.sees() && choice("Describe it", "act", () => window.comfy.describe(file)),
        choice("Cancel", "act"),
      ),
    );
    box.addEventListener("close", () => picture && URL.revokeObjectURL(picture.src));
    $(".acts button", box)?.focus();
  }
  function about(told) {
    if (told.error) return make("p", { className: "trouble", role: "alert", textContent: told.error });
    if (!told.source) return make("p", { textContent: "It carries no settings: sites and messengers often strip them." });
    const row = (name, text) => text && make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: text }));
    const prompt = told.prompt?.length > 300 ? `${told.prompt.slice(0, 299)}…` : told.prompt;
    return make("dl", {}, row("Made with", told.source), row("Form", told.form), row("Prompt", prompt), row("Seed", told.seed));
  }
  function give(input, file) {
    const carrier = new DataTransfer();
    carrier.items.add(file);
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    input.closest(".upload").scrollIntoView({ block: "nearest" });
  }
  // ---- masks ---------------------------------------------------------------------------------

  window.comfy.actions["paint-mask"] = async (button) => {
    const upload = button.closest(".upload");
    const field = $("input[type=hidden]", upload);
    const picture = make("img", { src: `uploads/${encodeURIComponent(field.value)}`, alt: "" });
    try {
      await picture.decode();
    } catch {
      return flash(button, "Choose the picture again");
    }
    const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
    const pen = canvas.getContext("2d");
    Object.assign(pen, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
    const brush = make("input", { type: "range", min: 1, max: 100, value: 35, ariaLabel: "Size of the brush" });
    const trouble = make("p", { className: "trouble", role: "alert" });
    let last = null;
    const at = (event) => {
      const place = canvas.getBoundingClientRect();
      const scale = canvas.width / place.width;
      return [(event.clientX - place.left) * scale, (event.clientY - place.top) * scale];
    };
    const stroke = (event) => {
      const now = at(event);
      pen.lineWidth = (canvas.width * brush.value) / 350 + 1;
      pen.beginPath();
      pen.moveTo(...last);
      pen.lineTo(...now);
      pen.stroke();
      last = now;
    };
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = at(event);
      stroke(event);
    };
    canvas.onpointermove = (event) => last && stroke(event);
    canvas.onpointerup = canvas.onpointercancel = () => (last = null);
    const eraser = make("button", { type: "button", className: "act", textContent: "Eraser", ariaPressed: "false" });
    eraser.onclick = () => {
      const on = eraser.ariaPressed !== "true";
      eraser.ariaPressed = String(on);
      pen.globalCompositeOperation = on ? "destination-out" : "source-over";
    };
    const done = make("button", { type: "button", className: "act primary", textContent: "Use this mask" });
    done.onclick = async () => {
      const whole = make("canvas", { width: canvas.width, height: canvas.height });
      const ink = whole.getContext("2d");
      ink.fillRect(0, 0, whole.width, whole.height);
      ink.drawImage(canvas, 0, 0);
      const file = await new Promise((ready) => whole.toBlob(ready, "image/png"));
      const told = await sendFile("uploads", file, { over: field.value });
      if (told.error) return (trouble.textContent = told.error);
      field.value = told.name;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      $(".upload-name", upload).textContent = "Picture with a mask";
      box.close();
    };
    const box = dialog(
      "painter", "Paint a mask",
      make("h2", { textContent: "Paint what may change" }),
      make("div", { className: "painting" }, picture, canvas),
      make("div", { className: "acts" }, brush, eraser, done),
      trouble,
    );
  };

  function toWorkflows() {
    $("#tabs button[role=tab][data-tab-id=workflows]")?.click();
  }
})();
