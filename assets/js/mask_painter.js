// @ts-check
// The dialog for painting a mask over an uploaded image.
"use strict";
(() => {
  const { $, make, dialog, flash } = window.comfy.kit;
  const { sendFile } = window.comfy.workflows;

  window.comfy.actions["paint-mask"] = async (button) => {
    const upload = button.closest(".upload");
    const field = $("input[type=hidden]", upload);
    /** @param {string} name */
    const layer = (name) => make("img", { src: `uploads/${encodeURIComponent(field.value)}?layer=${name}`, alt: "" });
    const [picture, mask] = [layer("picture"), layer("mask")];
    try {
      await Promise.all([picture.decode(), mask.decode()]);
    } catch {
      return flash(button, "Choose the image again");
    }
    const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
    const pen = canvas.getContext("2d");
    pen.drawImage(mask, 0, 0);
    Object.assign(pen, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
    const brush = make("input", { type: "range", min: 1, max: 100, value: 35, ariaLabel: "Brush size" });
    const trouble = make("p", { className: "trouble", role: "alert" });
    /** Where the stroke is; null between strokes. @type {[x: number, y: number] | null} */
    let last = null;
    /**
     * @param {PointerEvent} event
     * @returns {[x: number, y: number]}
     */
    const at = (event) => {
      const place = canvas.getBoundingClientRect();
      const scale = canvas.width / place.width;
      return [(event.clientX - place.left) * scale, (event.clientY - place.top) * scale];
    };
    /** @param {PointerEvent} event */
    const stroke = (event) => {
      const now = at(event);
      pen.lineWidth = (canvas.width * brush.value) / 350 + 1;
      pen.beginPath();
      pen.moveTo(...(last ?? now));
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
      const uploaded = await sendFile("uploads", file, { over: field.value });
      if (uploaded.error) return (trouble.textContent = uploaded.error);
      field.value = uploaded.name;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      const painted = pen.getImageData(0, 0, canvas.width, canvas.height).data.some((value, index) => index % 4 === 3 && value);
      $(".upload-name", upload).textContent = painted ? "Image with a mask" : "Image without a mask";
      box.close();
    };
    const box = dialog(
      "painter", "Paint a mask",
      make("h2", { textContent: "Paint the area to change" }),
      make("div", { className: "painting" }, picture, canvas),
      make("div", { className: "acts" }, brush, eraser, done),
      trouble,
    );
  };
})();
