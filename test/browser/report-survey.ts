/** Looks at an opened report: which marks are drawn and in colour, which words are cut or lie over others, what is too wide. */

/** What was found. */
export interface Survey {
  readonly panels: readonly {
    readonly width: number;
    readonly marks: number;
    /** Marks with a size and a colour. */
    readonly painted: number;
    /** Words that go over the edge of their plot. */
    readonly cut: readonly string[];
    /** Words that lie over others. */
    readonly colliding: readonly string[];
  }[];
  /** Elements that go over the right edge, but for those that can be scrolled. */
  readonly wide: readonly string[];
  readonly pageWidth: number;
  readonly ground: string;
}

/** To be evaluated in the page. */
export const survey = `(() => {
  const over = (inner, outer) =>
    inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
  const panels = [...document.querySelectorAll(".panel svg")].map((svg) => {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((text) => ({ words: text.textContent, box: text.getBoundingClientRect() }));
    const marks = [...svg.querySelectorAll('path[transform^="matrix"]')];
    const painted = marks.filter((mark) => {
      const { fill } = getComputedStyle(mark);
      return mark.getBoundingClientRect().width > 3 && fill.startsWith("rgb(") && fill !== "rgb(0, 0, 0)";
    });
    return {
      width: frame.width,
      marks: marks.length,
      painted: painted.length,
      cut: texts.filter(({ box }) => over(box, frame)).map(({ words }) => words),
      colliding: texts.filter(({ box }, i) => texts.some((other, j) => j > i && meet(box, other.box))).map(({ words }) => words),
    };
  });
  const wide = [...document.querySelectorAll("main *")].filter(
    (one) => one.closest(".scroll") === null && one.getBoundingClientRect().right > innerWidth + 0.5,
  );
  return {
    panels,
    wide: wide.map((one) => one.outerHTML.slice(0, 200)),
    pageWidth: document.documentElement.scrollWidth,
    ground: getComputedStyle(document.body).backgroundColor,
  };
})()`;
