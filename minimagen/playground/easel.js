// The picture, the mask that is painted on it, and the stages below. Python owns all state but the mask.

const MASK = 256; // px of a side

const blob = (view, type) => new Blob([view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)], { type });
const make = (tag, className, parent) => {
  const element = document.createElement(tag);
  element.className = className;
  parent.append(element);
  return element;
};

// ipywidgets gives its sliders and boxes no name, and tells by colour alone which button is chosen: say both.
const say = (play) => {
  const set = (element, name, value) => {
    if (value && element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  for (const control of play.querySelectorAll("[role=slider], input, .widget-toggle-buttons")) {
    const box = control.closest(".widget-inline-hbox"), title = control.closest(".mm-dial")?.querySelector("b");
    set(control, "aria-label", title?.textContent ?? (control.title || box?.querySelector("label").title));
    const shown = control.getAttribute("role") === "slider" && box.querySelector(".widget-readout"); // 0.995, not 0.9950000000000001
    if (shown) set(control, "aria-valuetext", shown.textContent);
  }
  for (const group of play.querySelectorAll(".widget-toggle-buttons")) set(group, "role", "group");
  for (const button of play.querySelectorAll(".widget-toggle-button"))
    set(button, "aria-pressed", String(button.classList.contains("mod-active")));
};

function render({ model, el }) {
  const root = make("div", "mm-easel", el);
  const frame = make("div", "mm-frame", root);
  const canvas = make("canvas", "mm-picture", frame);
  canvas.setAttribute("role", "img");
  const veil = make("img", "mm-veil", frame);
  veil.alt = "";
  const paint = make("canvas", "mm-mask", frame);
  paint.width = paint.height = MASK;
  paint.setAttribute("aria-label", "Paint over what should change");
  const save = make("a", "mm-save", frame);
  save.textContent = "Save";
  const stages = make("div", "mm-stages", root);

  // The picture. Bitmaps are decoded aside; one that arrives after its successor is dropped.
  let order = 0, drawn = 0;
  const show = async () => {
    const bytes = model.get("picture"), turn = ++order;
    frame.classList.toggle("mm-empty", !bytes.byteLength);
    if (!bytes.byteLength) return;
    const bitmap = await createImageBitmap(blob(bytes, ""));
    if (turn < drawn) return;
    drawn = turn;
    if (canvas.width !== bitmap.width) canvas.width = canvas.height = bitmap.width;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    canvas.dataset.turn = turn;
  };
  const sharpen = () => canvas.classList.toggle("mm-sharp", model.get("sharp"));
  const tell = () => canvas.setAttribute("aria-label", model.get("told"));
  const lay = () => {
    const bytes = model.get("veil");
    veil.classList.toggle("mm-on", bytes.byteLength > 0);
    if (bytes.byteLength) {
      URL.revokeObjectURL(veil.src);
      veil.src = URL.createObjectURL(blob(bytes, "image/png"));
    }
  };
  const comeIntoView = () => {
    const box = frame.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) frame.scrollIntoView({ block: "center", behavior: "smooth" });
  };
  const offer = () => {
    const bytes = model.get("final"), before = save.hasAttribute("href");
    save.classList.toggle("mm-on", bytes.byteLength > 0);
    if (!bytes.byteLength) {
      save.removeAttribute("href");
      if (before) comeIntoView(); // another picture begins
      return;
    }
    URL.revokeObjectURL(save.href);
    save.href = URL.createObjectURL(blob(bytes, "image/png"));
    save.download = model.get("filename");
  };

  // The stages: a button each, with its own small picture and how far it is.
  const cards = [];
  const list = () => {
    const told = model.get("stages");
    while (cards.length > told.length) cards.pop().card.remove();
    told.forEach((stage, i) => {
      if (!cards[i]) {
        const card = make("button", "mm-stage", stages);
        card.type = "button";
        const thumb = make("img", "mm-thumb", card);
        thumb.alt = "";
        const text = make("span", "mm-stage-text", card);
        const name = make("b", "", text), about = make("small", "", text);
        const bar = make("i", "mm-bar", make("span", "mm-track", text));
        card.onclick = () => { model.set("picked", { stage: i, time: Date.now() }); model.save_changes(); };
        cards[i] = { card, thumb, name, about, bar };
      }
      const { card, thumb, name, about, bar } = cards[i];
      name.textContent = stage.name;
      about.textContent = stage.about;
      bar.style.width = `${100 * stage.share}%`;
      card.disabled = stage.share === 0;
      if (stage.share === Number(card.dataset.share) && stage.share === 1) return; // it is finished, and shown
      card.dataset.share = stage.share;
      if (stage.thumb.byteLength) {
        URL.revokeObjectURL(thumb.src);
        thumb.src = URL.createObjectURL(blob(stage.thumb, "image/jpeg"));
      } else thumb.removeAttribute("src");
    });
    choose();
  };
  const choose = () => cards.forEach(({ card }, i) => card.setAttribute("aria-pressed", i === model.get("chosen")));

  // The brush. It paints here, without asking Python; what was painted is sent when the pointer is lifted.
  const ink = paint.getContext("2d");
  ink.lineCap = ink.lineJoin = "round";
  let last = null;
  const place = (event) => {
    const box = paint.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * MASK, ((event.clientY - box.top) / box.height) * MASK];
  };
  const stroke = (event) => {
    const [x, y] = place(event);
    ink.strokeStyle = "#d55e00";
    ink.lineWidth = model.get("brush") * MASK;
    ink.beginPath();
    ink.moveTo(...(last ?? [x, y]));
    ink.lineTo(x + 0.01, y); // a point of its own where the pointer has not moved
    ink.stroke();
    last = [x, y];
  };
  paint.onpointerdown = (event) => {
    if (event.button !== 0) return;
    paint.setPointerCapture(event.pointerId);
    stroke(event);
  };
  paint.onpointermove = (event) => { if (last) (event.getCoalescedEvents?.() ?? [event]).concat(event).forEach(stroke); };
  const lift = () => {
    if (!last) return;
    last = null;
    paint.toBlob(async (png) => {
      model.set("mask", new DataView(await png.arrayBuffer()));
      model.save_changes();
    });
  };
  paint.onpointerup = paint.onpointercancel = lift;
  const arm = () => {
    const armed = model.get("brush") > 0, taken = armed && !paint.classList.contains("mm-on");
    paint.classList.toggle("mm-on", armed);
    if (taken) comeIntoView();
  };
  const wipe = () => {
    ink.clearRect(0, 0, MASK, MASK);
    model.set("mask", new DataView(new ArrayBuffer(0)));
    model.save_changes();
  };

  const changes = { picture: show, sharp: sharpen, told: tell, veil: lay, final: offer, stages: list, chosen: choose, brush: arm, wiped: wipe };
  for (const [name, change] of Object.entries(changes)) {
    model.on(`change:${name}`, change);
    if (name !== "wiped") change();
  }
  const changed = new MutationObserver(() => say(el.closest(".mm-play")));
  const laid = new ResizeObserver(() => {
    const play = el.closest(".mm-play");
    if (!play) return;
    laid.disconnect();
    say(play);
    const attributeFilter = ["class", "aria-valuetext"];
    changed.observe(play, { subtree: true, childList: true, attributes: true, attributeFilter });
  });
  laid.observe(root);
  return () => {
    laid.disconnect();
    changed.disconnect();
    for (const [name, change] of Object.entries(changes)) model.off(`change:${name}`, change);
  };
}

export default { render };
