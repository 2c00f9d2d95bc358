// Code that sends one picture to this service as this page did: curl, Python, JavaScript.

import { threshold } from "./answers.js";

/** Languages by name, each with a function that returns the code for { name, address, hasKey }. */
export const LANGUAGES = {
  curl: ({ name, address, hasKey }) =>
    [
      `curl ${shell(address)}`,
      ...(hasKey ? [`-H "Authorization: Bearer $FACEMASK_KEY"`] : []),
      `-F ${shell(`files=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)}`,
    ].join(" \\\n  "),

  Python: ({ name, address, hasKey }) =>
    [
      "import json",
      ...(hasKey ? ["import os"] : []),
      "from pathlib import Path",
      "from urllib.request import Request, urlopen",
      "",
      "request = Request(",
      `    ${python(address)},`,
      `    data=Path(${python(name)}).read_bytes(),`,
      hasKey
        ? `    headers={"Content-Type": "image/*", "Authorization": f"Bearer {os.environ['FACEMASK_KEY']}"},`
        : `    headers={"Content-Type": "image/*"},`,
      ")",
      "answer = json.load(urlopen(request))",
      "for prediction in answer[\"predictions\"]:",
      "    print(json.dumps(prediction, indent=2))",
    ].join("\n"),

  JavaScript: ({ name, address, hasKey }) =>
    [
      'import { readFile } from "node:fs/promises";',
      "",
      "const body = new FormData();",
      `body.append("files", new Blob([await readFile(${JSON.stringify(name)})]), ${JSON.stringify(name)});`,
      `const response = await fetch(${JSON.stringify(address)}, {`,
      '  method: "POST",',
      ...(hasKey ? ["  headers: { Authorization: `Bearer ${process.env.FACEMASK_KEY}` },"] : []),
      "  body,",
      "});",
      "const { predictions } = await response.json();",
      "console.log(JSON.stringify(predictions, null, 2));",
    ].join("\n"),
};

/** Return the address that pictures are sent to, with what was chosen on this page. */
export function predictAddress({ faces }) {
  const address = new URL("predict", document.baseURI);
  address.hash = "";
  if (faces) address.searchParams.set("faces", "true");
  if (threshold.chosen !== null) address.searchParams.set("threshold", `${threshold.chosen}`);
  return address.href;
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// JSON's escapes are Python's, too; those outside the first plane come as they are.
const python = (text) => JSON.stringify(text);
