import { join } from "node:path";
import t from "tap";
import { chainNodes, nodeName } from "../../cli/disk/block-nodes.ts";
import { type ImageDescriptor, ImageStore } from "../../cli/disk/image-store.ts";

const images = new ImageStore("/store/web1");
const file = (name: string) => join("/store/web1/images", name);

function image(id: string, changes: Partial<ImageDescriptor> = {}): ImageDescriptor {
  return { ...images.describe("root", 1 << 20, null), id, file: `${id}.qcow2`, ...changes };
}

const base = image("root-0000000a", { file: "/srv/base.img", imageFormat: "raw" });
const middle = image("root-0000000b", { backing: base.id });
const top = image("root-0000000c", { backing: middle.id, file: "merged.qcow2" });

t.test("a node's name comes from the image's id and fits QEMU", async (t) => {
  t.equal(nodeName("root-0000000a"), "bf-0000000a");
  t.ok(`${nodeName(`${"x".repeat(15)}-0123abcd`)}-f`.length <= 31);
});

t.test("a chain has the lowest image first, and only the newest is written to", async (t) => {
  const nodes = chainNodes(images, [top, middle, base], { writable: true, cache: "writeback" });
  t.match(nodes, [
    { driver: "raw", "node-name": "bf-0000000a", "read-only": true, file: { filename: "/srv/base.img" } },
    {
      driver: "qcow2",
      "node-name": "bf-0000000b",
      "read-only": true,
      backing: "bf-0000000a",
      file: { driver: "file", filename: file("root-0000000b.qcow2"), "node-name": "bf-0000000b-f" },
    },
    {
      driver: "qcow2",
      "node-name": "bf-0000000c",
      "read-only": false,
      backing: "bf-0000000b",
      file: { filename: file("merged.qcow2") },
    },
  ]);
  t.notOk("backing" in nodes[0], "raw files have none");
  const readOnly = chainNodes(images, [top, middle, base], { writable: false, cache: "writeback" });
  t.ok(readOnly.every((node) => node["read-only"] === true));
});

t.test(
  "an image of ours without one under it ignores what its header says; an operator's does not",
  async (t) => {
    const options = { writable: true, cache: "writeback" } as const;
    const [own] = chainNodes(images, [image("root-0000000d")], options);
    t.equal(own["backing"], null);
    const [given] = chainNodes(images, [image("root-0000000e", { file: "/srv/a.qcow2" })], options);
    t.notOk("backing" in given);
    t.equal(given["driver"], "qcow2");
  },
);

t.test("cache and discards are the same for the image and for its file", async (t) => {
  for (const [cache, direct] of [
    ["writeback", false],
    ["none", true],
  ] as const) {
    for (const node of chainNodes(images, [top, middle, base], { writable: true, cache })) {
      const options = { discard: "unmap", cache: { direct, "no-flush": false } };
      t.match(node, { ...options, file: options });
    }
  }
});
