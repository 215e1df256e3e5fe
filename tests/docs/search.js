// The site's own search, without a browser: node search.js SITE, questions on standard input, a line of JSON for each
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

globalThis.window = globalThis;
globalThis.document = { getElementById: () => null, addEventListener: () => null };
globalThis._ready = () => null;
globalThis._removeChildren = () => null;
globalThis._ = (text) => text;
globalThis.SPHINX_HIGHLIGHT_ENABLED = false;
globalThis.DOCUMENTATION_OPTIONS = { FILE_SUFFIX: ".html", LINK_SUFFIX: ".html" };
globalThis.Documentation = { PLURAL_EXPR: (n) => n, gettext: (text) => text, ngettext: (text) => text };

const site = process.argv[2];
const scripts = ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"];
const ask = "(question) => Search._performSearch(...Search._parseQuery(question))";
const sources = [...scripts.map((name) => fs.readFileSync(path.join(site, name), "utf8")), ask];
const search = vm.runInThisContext(sources.join("\n;\n"));
for (const question of fs.readFileSync(0, "utf8").trim().split("\n")) {
  console.log(JSON.stringify(search(question).reverse().map((found) => found[0] + found[2])));
}
