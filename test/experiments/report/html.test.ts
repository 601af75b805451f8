import t from "tap";
import { makeDocument } from "../../../cli/experiments/report/document.ts";
import { htmlOf } from "../../../cli/experiments/report/html.ts";
import { markdownOf } from "../../../cli/experiments/report/markdown.ts";
import { syntheticRecord, syntheticRecords } from "./synthetic-records.ts";

const nasty = `"><script>alert('1')</script> & | \`code\` [link](x)`;
const origin = {
  experiments: { command: `bench ${nasty}`, machine: `machine ${nasty}` },
  report: { at: "2026-01-02T03:04:05Z", command: `report ${nasty}` },
};
const nastyRecords = [
  ...syntheticRecords({ quick: true }),
  syntheticRecord({ qemuVersion: nasty }),
  syntheticRecord({ qemuVersion: nasty, method: "xbzrle", converged: false }),
];

t.test("text is escaped wherever it comes from", async (t) => {
  const html = htmlOf(makeDocument(nastyRecords, origin));
  t.notMatch(html, /<script|alert\('1'\)/);
  const escaped = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; | `code` [link](x)";
  for (const before of ["bench ", "machine ", "report ", "QEMU "])
    t.ok(html.includes(before + escaped), before);
});

t.test("the file needs nothing else and says so in its policy", async (t) => {
  const html = htmlOf(makeDocument(syntheticRecords({ quick: true }), { ...origin, experiments: null }));
  t.match(
    html,
    /http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-[^']{44}'; /,
  );
  t.notMatch(html, /\b(?:src|srcset|action|data|poster)=|@import|https?:|\/\/[a-z]/i, "nothing is fetched");
  const hrefs = [...html.matchAll(/href="([^"]*)"/g)].map(([, href]) => href ?? "");
  t.ok(hrefs.length > 0 && hrefs.every((href) => href.startsWith("#")), "links lead within");
  const ids = [...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
  t.equal(new Set(ids).size, ids.length, "no id twice");
  const wanted = [...html.matchAll(/(?:href="|labelledby="|url\()#?([^")]+)/g)].map(([, id]) => id);
  t.strictSame(
    wanted.filter((id) => !ids.includes(id)),
    [],
    "what is referred to is there",
  );
});

t.test("plots that the runs allow are there, with caption, and the others with a word why", async (t) => {
  const html = (quick: boolean) => htmlOf(makeDocument(syntheticRecords({ quick }), origin));
  const quick = html(true);
  for (const id of ["saving-plot", "downtime-plot", "wire-plot", "prediction-plot"]) {
    t.match(
      quick,
      new RegExp(`<figure id="${id}">[\\s\\S]*?<svg [\\s\\S]*?<figcaption>[^<]{40,}<a href="#`),
      id,
    );
  }
  for (const id of ["memory-plot", "ageing-plot"]) {
    t.match(quick, new RegExp(`<p class="missing" id="${id}">[^<]* is not drawn: [^<]{20,}</p>`), id);
  }
  t.match(quick, /All runs converged\./);
});

t.test("the tables of the Markdown are those of the HTML, and each row has all cells", async (t) => {
  const document = makeDocument(nastyRecords, origin);
  const markdown = markdownOf(document);
  const rows = markdown.split("\n").filter((line) => line.startsWith("|"));
  const cells = (line: string) => line.replace(/\\./g, "").split("|").length;
  const tables = document.sections.flatMap((section) => section.tables);
  t.equal(
    rows.length,
    document.facts.length +
      2 +
      tables.reduce(
        (sum, { groups }) => sum + 2 + groups.reduce((count, group) => count + group.rows.length, 0),
        0,
      ),
  );
  for (const [i, line] of rows.entries()) {
    if (i > 0 && /^\|-/.test(line)) t.equal(cells(line), cells(rows[i - 1] ?? ""), line);
  }
  t.notMatch(markdown, /(?<!\\)[<[`]/, "what Markdown would take for its own is escaped");
  for (const { caption } of tables) t.ok(markdown.includes(caption), caption);
});
