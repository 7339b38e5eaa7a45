// Draws the images of a report with NiiVue: a pane an image, one crosshair for all, values and regions under it.
// Everything comes from this page. Where it cannot be drawn the pictures stay, and the reason is said.
(() => {
  "use strict";
  const element = (id) => document.getElementById(id);
  const bytesOf = (text) => Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));

  async function unpacked(bytes, format) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // The policy of the page lets this text run because it has the checksum of NiiVue.
  async function loadNiivue() {
    const source = await unpacked(bytesOf(element("niivue-source").textContent), "gzip");
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(source);
    document.head.append(script);
    if (!globalThis.niivue) throw new Error("NiiVue is not as it was shipped");
    return globalThis.niivue;
  }

  // Low bytes before high ones, differences along i.
  async function codesOf(text, size) {
    const bytes = await unpacked(bytesOf(text), "deflate");
    const codes = new Int16Array(size[0] * size[1] * size[2]);
    for (let n = 0; n < codes.length; n++) {
      const step = bytes[n] | (bytes[codes.length + n] << 8);
      codes[n] = n % size[0] ? codes[n - 1] + step : step;
    }
    return codes;
  }

  function number(value, step) {
    const decimals = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step))));
    return (value === 0 ? 0 : value).toFixed(decimals).replace("-", "\u2212");
  }

  // A NIfTI file in memory: the common header, the layer's step as its slope.
  function fileOf(data, layer) {
    const header = bytesOf(data.header);
    new DataView(header.buffer).setFloat32(112, layer.step, true);
    const file = new Uint8Array(header.length + layer.codes.byteLength);
    file.set(header);
    file.set(new Uint8Array(layer.codes.buffer), header.length);
    return file.buffer;
  }

  function addColors(library, layer) {
    const table = (colors) => {
      const count = colors.length, map = { min: 0, max: 0, R: [], G: [], B: [], A: [], I: [] };
      for (let n = 0; n < 256; n++) {
        const color = colors[Math.round(n * (count - 1) / 255)];
        ["R", "G", "B"].forEach((key, channel) => map[key].push(color[channel]));
        map.A.push(n && 255);
        map.I.push(n);
      }
      return map;
    };
    const half = (layer.colors.length - 1) / 2;
    layer.signed = layer.window[0] < 0 && layer.masked;
    const upper = layer.signed ? layer.colors.slice(half) : layer.colors;
    library.cmapper.addColormap(layer.key, table(upper));
    if (layer.signed) library.cmapper.addColormap(`${layer.key}-negative`, table(layer.colors.slice(0, half + 1).reverse()));
  }

  class Volume {
    constructor(library, data, layer, opacity) {
      this.layer = layer;
      this.image = null;
      this.loading = library.NVImage.new(fileOf(data, layer), `${layer.key}.nii`, layer.key, opacity, null,
        0, 1, true, 0.02, false, false, layer.signed ? `${layer.key}-negative` : "");
    }

    async ready() {
      this.image = await this.loading;
      this.setWindow();
      return this.image;
    }

    setWindow() {
      const [low, high] = this.layer.window;
      this.image.cal_max = high;
      if (this.layer.signed) {
        this.image.cal_min = 0;
        [this.image.cal_minNeg, this.image.cal_maxNeg] = [low, 0];
      } else {
        this.image.cal_min = low;
      }
    }
  }

  const OPTIONS = {
    isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true, isNearestInterpolation: true,
    showAllOrientationMarkers: true, multiplanarShowRender: 0, multiplanarLayout: 1, multiplanarPadPixels: 4,
    dragAndDropEnabled: false, scrollRequiresFocus: true, dragMode: 0, logLevel: "silent", loadingText: "",
    clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", isResizeCanvas: true,
    crosshairColor: [0.25, 0.85, 0.45, 1], crosshairWidth: 1.5, crosshairWidthUnit: "mm", crosshairGap: 6, fontColor: [1, 1, 1, 1],
    backColor: [0, 0, 0, 1], isAntiAlias: false, fontMinPx: 12,
  };

  function node(tag, text, properties = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    return Object.assign(made, properties);
  }

  class Viewer {
    constructor(library, data, root) {
      [this.library, this.data, this.root] = [library, data, root];
      this.panes = [];
    }

    async start() {
      for (const layer of this.data.layers) await this.addPane(layer);
      this.addControls();
      const { coarser } = this.data;
      if (coarser) this.root.querySelector("[data-coarser]").textContent = `, one in each ${coarser} mm: the page stays small, the files have all`;
      this.root.querySelector("[data-where]").addEventListener("change", () => this.goToInput());
      this.goTo(this.data.point);
    }

    async addPane(layer) {
      const [first] = this.data.layers;
      const pane = node("div", "", { className: "pane" });
      const heading = node("p", "", { className: "pane-name" });
      heading.append(node("span", layer.name, { title: layer.name }));
      const value = node("output", "");
      const box = node("div", "", { className: "planes" });
      const canvas = node("canvas", "", { tabIndex: 0 });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${layer.name} in three planes; arrow keys and the fields below move the crosshair`);
      heading.append(value);
      box.append(canvas);
      pane.append(heading, box);
      this.root.querySelector(".panes").append(pane);
      const view = new this.library.Niivue(OPTIONS);
      await view.attachToCanvas(canvas);
      const volumes = [new Volume(this.library, this.data, first, 1)];
      if (layer !== first) volumes.push(new Volume(this.library, this.data, layer, layer.opacity));
      for (const volume of volumes) view.addVolume(await volume.ready());
      view.onLocationChange = (where) => this.follow(view, where.mm);
      canvas.addEventListener("keydown", (event) => this.step(event));
      this.panes.push({ layer, view, volumes, pane, value });
    }

    addControls() {
      const place = this.root.querySelector(".controls");
      const choice = node("select", "");
      const label = node("label", "Show ");
      choice.append(node("option", "side by side", { value: "" }));
      this.panes.forEach(({ layer }, n) => choice.append(node("option", layer.name, { value: String(n) })));
      choice.addEventListener("change", () => this.showOnly(choice.value));
      label.append(choice);
      place.append(label);
      const [, ...overlays] = this.panes;
      if (overlays.length) place.append(this.opacity(overlays));
      for (const scale of new Set(this.data.layers.map((layer) => layer.scale))) place.append(this.window(scale));
    }

    opacity(overlays) {
      const label = node("label", "Opacity ");
      const slider = node("input", "", { type: "range", min: 0, max: 100, value: 100 * overlays[0].layer.opacity });
      slider.addEventListener("input", () => {
        for (const { view } of overlays) view.setOpacity(1, slider.value / 100);
      });
      label.append(slider);
      return label;
    }

    window(scale) {
      const layers = this.data.layers.filter((layer) => layer.scale === scale);
      const [layer] = layers;
      const set = node("fieldset", "");
      set.append(node("legend", layer.unit ? `${scale} (${layer.unit})` : scale));
      const bar = node("canvas", "", { width: 256, height: 1, className: "bar" });
      const pixels = bar.getContext("2d");
      for (let n = 0; n < 256; n++) {
        pixels.fillStyle = `rgb(${layer.colors[Math.round(n * (layer.colors.length - 1) / 255)].join(" ")})`;
        pixels.fillRect(n, 0, 1, 1);
      }
      const ends = layer.window.map((value, n) => {
        const field = node("input", "", { type: "number", step: "any", value: Number(value.toPrecision(3)) });
        field.setAttribute("aria-label", `${scale}, ${n ? "upper" : "lower"} end of the colours`);
        field.addEventListener("change", () => {
          const low = Number(ends[0].value), high = Number(ends[1].value);
          if (high > low) this.setWindow(layers, low, high);
        });
        return field;
      });
      set.append(ends[0], bar, ends[1]);
      return set;
    }

    setWindow(layers, low, high) {
      for (const layer of layers) layer.window = [low, high];
      for (const { view, volumes } of this.panes) {
        if (!volumes.some((volume) => layers.includes(volume.layer))) continue;
        volumes.forEach((volume) => volume.setWindow());
        view.updateGLVolume();
      }
    }

    showOnly(choice) {
      this.panes.forEach(({ pane, view }, n) => {
        const alone = choice !== "" && n === Number(choice);
        pane.inert = choice !== "" && !alone;
        pane.classList.toggle("alone", alone);
        view.setMultiplanarLayout(alone ? 3 : 1);
      });
    }

    // The crosshair of one pane was moved: the others follow.
    follow(from, mm) {
      for (const { view } of this.panes) {
        if (view === from) continue;
        view.scene.crosshairPos = from.scene.crosshairPos.slice();
        view.scene.pan2Dxyzmm = from.scene.pan2Dxyzmm.slice();
        view.drawScene();
      }
      this.say(Array.from(mm).slice(0, 3));
    }

    goTo(mm) {
      for (const { view } of this.panes) {
        view.scene.crosshairPos = view.mm2frac(mm);
        view.drawScene();
      }
      this.say(mm);
    }

    goToInput() {
      const mm = [...this.root.querySelectorAll("[data-where] input")].map((field) => field.valueAsNumber);
      if (mm.every(Number.isFinite)) this.goTo(mm);
    }

    // Arrow keys and page up and down by a millimetre along R, A and S.
    step(event) {
      const way = { ArrowLeft: [0, 1], ArrowRight: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1], PageUp: [2, 1], PageDown: [2, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      event.stopPropagation();
      const mm = this.point.slice();
      mm[way[0]] += way[1];
      this.goTo(mm);
    }

    say(mm) {
      this.point = mm;
      const { size, toIndex } = this.data;
      const index = toIndex.map((row) => Math.round(row[0] * mm[0] + row[1] * mm[1] + row[2] * mm[2] + row[3]));
      const inside = index.every((n, axis) => n >= 0 && n < size[axis]);
      const at = inside ? index[0] + size[0] * (index[1] + size[1] * index[2]) : -1;
      [...this.root.querySelectorAll("[data-where] input")].forEach((field, axis) => { field.value = mm[axis].toFixed(1); });
      for (const { layer, value } of this.panes) {
        const code = inside ? layer.codes[at] : 0;
        const absent = !inside || (layer.masked && code === 0);
        value.textContent = absent ? "\u2013" : `${number(code * layer.step, layer.step)} ${layer.unit}`;
      }
      const names = this.data.regions.map(({ name, names, codes }) => inside && codes[at] ? `${names[codes[at]]} (${name})` : "");
      this.root.querySelector("[data-region]").textContent = names.filter(Boolean).join(", ") || "no region";
    }
  }

  async function main() {
    const root = element("viewer");
    if (!globalThis.DecompressionStream) throw new Error("this browser is too old");
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    const data = JSON.parse(element("viewer-data").textContent);
    for (const map of data.regions) map.codes = await codesOf(map.codes, data.size);
    for (const [n, layer] of data.layers.entries()) {
      layer.codes = await codesOf(layer.codes, data.size);
      layer.key = `layer${n}`;
    }
    const library = await loadNiivue();
    data.layers.forEach((layer) => addColors(library, layer));
    document.documentElement.classList.add("interactive");
    await new Viewer(library, data, root).start();
    root.dataset.state = "ready";
  }

  main().catch((error) => {
    document.documentElement.classList.remove("interactive");
    element("viewer").dataset.state = "failed";
    element("viewer-reason").textContent = `The images cannot be scrolled through here: ${error.message}.`;
  });
})();
