/**
 * Draws the heat map of a region on a canvas, and tells what a cell is to who points at it or walks over it with the arrow keys.
 *
 * The canvas is a slider for assistive technology: its value is the cell, its text the cell's pages.
 */

import { counted, make } from "./element.ts";
import { cellAt, describeCell, type HeatCells, sumOf } from "./heat-cells.ts";

/** Sides of a cell in CSS pixels: large for few cells, small for many. */
const cellSizes = [16, 12, 9];
/** How many rows a map may have before its cells get smaller. */
const rowsWanted = 12;
const gap = 1;

/** A figure with the map; it draws itself when it is shown, when its width changes, and when light and dark change. */
export function heatMapFigure(map: HeatCells): HTMLElement {
  const canvas = make("canvas", { class: "heat" });
  const readout = make("span", { class: "readout" });
  const title = make("span", {}, make("strong", { text: map.region }), ` ${summaryOf(map)}`);
  const figure = make("figure", { class: "heat-figure" }, make("figcaption", {}, title, readout), canvas);
  const cells = map.wrong.length;
  let cursor = -1;
  let layout = layoutFor(cells, 1);

  const draw = () => {
    if (canvas.clientWidth === 0) return;
    layout = layoutFor(cells, canvas.clientWidth);
    drawCells(canvas, map, layout, cursor);
  };
  const select = (cell: number) => {
    if (cell === cursor || cell < 0 || cell >= cells) return;
    cursor = cell;
    const text = describeCell(map, cell);
    readout.textContent = text;
    canvas.setAttribute("aria-valuenow", String(cell));
    canvas.setAttribute("aria-valuetext", text);
    draw();
  };

  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", `Heat map of ${map.region}, ${summaryOf(map)}`);
  canvas.setAttribute("aria-valuemin", "0");
  canvas.setAttribute("aria-valuemax", String(Math.max(cells - 1, 0)));
  canvas.setAttribute("aria-valuenow", "0");
  if (cells > 0) canvas.setAttribute("aria-valuetext", describeCell(map, 0));
  canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
    const column = Math.floor(offsetX / layout.pitch);
    if (column < layout.columns) select(Math.floor(offsetY / layout.pitch) * layout.columns + column);
  });
  canvas.addEventListener("keydown", (event) => {
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -layout.columns,
      ArrowDown: layout.columns,
      Home: -cells,
      End: cells,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    select(Math.min(Math.max(cursor + step, 0), cells - 1));
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return figure;
}

interface Layout {
  readonly columns: number;
  readonly rows: number;
  /** Distance of neighbouring cells in CSS pixels. */
  readonly pitch: number;
}

function layoutFor(cells: number, width: number): Layout {
  const layouts = cellSizes.map((size) => {
    const pitch = size + gap;
    const columns = Math.max(1, Math.floor((width + gap) / pitch));
    return { columns, rows: Math.ceil(cells / columns), pitch };
  });
  return layouts.find(({ rows }) => rows <= rowsWanted) ?? layouts[layouts.length - 1];
}

function drawCells(canvas: HTMLCanvasElement, map: HeatCells, layout: Layout, cursor: number): void {
  const { columns, rows, pitch } = layout;
  const scale = devicePixelRatio;
  const height = rows * pitch;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(canvas.clientWidth * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.scale(scale, scale);
  const colours = coloursOf(canvas);
  const side = pitch - gap;
  for (let cell = 0; cell < map.wrong.length; cell++) {
    const x = (cell % columns) * pitch;
    const y = Math.floor(cell / columns) * pitch;
    const { pages, dirty, wrong } = cellAt(map, cell);
    context.fillStyle =
      wrong > 0 ? colours.wrong : dirty === null ? colours.full : colours.share(dirty / pages);
    context.fillRect(x, y, side, side);
    // Not by its colour alone: a wrong cell is crossed out.
    if (wrong > 0) cross(context, x, y, side, colours.mark);
    if (cell === cursor) {
      context.strokeStyle = colours.cursor;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, side - 2, side - 2);
    }
  }
}

function cross(context: CanvasRenderingContext2D, x: number, y: number, side: number, colour: string): void {
  const inset = side / 4;
  context.strokeStyle = colour;
  context.lineWidth = Math.max(1, side / 8);
  context.beginPath();
  context.moveTo(x + inset, y + inset);
  context.lineTo(x + side - inset, y + side - inset);
  context.moveTo(x + side - inset, y + inset);
  context.lineTo(x + inset, y + side - inset);
  context.stroke();
}

/** The style sheet's colours as they are now. */
function coloursOf(canvas: HTMLCanvasElement) {
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(`--heat-${name}`).trim();
  const [none, low, high] = ["none", "low", "high"].map(colour);
  return {
    wrong: colour("wrong"),
    mark: colour("mark"),
    full: colour("full"),
    cursor: colour("cursor"),
    // The smallest share is told apart from none.
    share: (share: number) => (share === 0 ? none : mix(low, high, share)),
  };
}

/** A colour between two of the form `#rrggbb`. */
function mix(from: string, to: string, share: number): string {
  const channel = (at: number) => {
    const [a, b] = [from, to].map((text) => Number.parseInt(text.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share);
  };
  return `rgb(${channel(1)} ${channel(3)} ${channel(5)})`;
}

function summaryOf(map: HeatCells): string {
  const parts = [
    counted(map.pages, "page"),
    map.dirty === null ? "held in full" : `${sumOf(map.dirty).toLocaleString("en")} dirty`,
    sumOf(map.wrong) > 0 ? `${sumOf(map.wrong).toLocaleString("en")} wrong` : null,
    map.pagesPerCell > 1 ? `${map.pagesPerCell} pages a cell` : null,
  ];
  return parts.filter((part) => part !== null).join(" · ");
}
