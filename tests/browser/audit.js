// What everybody needs to use a page, computed from the page as it is drawn.
function audit() {
  const wrong = [];
  const named = (element) => `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""} ${(element.textContent || "").trim().slice(0, 40)}`;
  const drawn = (element) => { const box = element.getBoundingClientRect(); return box.width > 1 && box.height > 1 && element.checkVisibility({ visibilityProperty: true, opacityProperty: true }); };
  for (const control of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")) {
    const label = control.getAttribute("aria-label") || control.labels?.[0]?.textContent || (control.matches("a, button") ? control.textContent : "");
    if (!label.trim()) wrong.push(`no label: ${control.outerHTML.slice(0, 120)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice the id ${id}`);
  for (const element of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(element.getAttribute("aria-labelledby"))) wrong.push(`labelled by nothing: ${named(element)}`);
  if (document.querySelectorAll("h1").length !== 1) wrong.push(`${document.querySelectorAll("h1").length} h1`);
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  if (!document.querySelector("main.gate")) for (const part of ["header", "nav[aria-label]", "[role=search]"]) if (!document.querySelector(part)) wrong.push(`no ${part}`);
  if (!document.documentElement.lang) wrong.push("no language");
  for (const table of document.querySelectorAll("table")) if (!table.caption) wrong.push(`no caption: ${named(table)}`);
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(`${wide} wide in ${innerWidth}: ${[...document.querySelectorAll("main *")].filter((element) => drawn(element) && element.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map(named)}`);

  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (seen.has(element) || !texts.currentNode.data.trim() || !drawn(element) || element.closest("option, noscript, :disabled, [disabled]")) continue;
    seen.add(element);
    const style = getComputedStyle(element), back = ground(element);
    const front = over(rgba(element instanceof SVGElement ? style.fill : style.color), back);
    const [bright, dark] = [light(front), light(back)].sort((one, other) => other - one);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${named(element)}`);
  }
  return wrong;
}
