// Puts a headless Chromium into a folder: node install.js FOLDER
//
// It comes from a package of a registry alone, wherever npm reaches one: a release that is named here, with the checksum
// that it must have. Its program is not run: it would put the browser into /tmp. The folder gets the browser, libraries
// that it wants and a small system may not have, and a font.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, createReadStream, createWriteStream, mkdirSync, writeFileSync } from "node:fs";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const PACKAGE = "@sparticuz/chromium@153.0.0";
const SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==";

const folder = resolve(process.argv[2]);
const packed = join(folder, "package", "bin");

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const patience = ["--fetch-timeout=120000", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]; // milliseconds
execFileSync("npm", ["pack", PACKAGE, ...patience], { cwd: folder });
const archive = join(folder, readdirSync(folder)[0]);
if (createHash("sha512").update(readFileSync(archive)).digest("base64") !== SHA512) {
  throw new Error(`this is not the ${PACKAGE} that was named here`);
}
execFileSync("tar", ["-xzf", archive, "-C", folder]);

async function unpack(name) {
  const file = join(folder, name);
  await pipeline(createReadStream(join(packed, `${name}.br`)), createBrotliDecompress(), createWriteStream(file));
  if (name.endsWith(".tar")) {
    execFileSync("tar", ["-xf", file, "-C", folder]);
    rmSync(file);
  }
}

await Promise.all(["chromium", "al2023.tar", "fonts.tar"].map(unpack));
chmodSync(join(folder, "chromium"), 0o755);
rmSync(archive);
rmSync(join(folder, "package"), { recursive: true });

writeFileSync(
  join(folder, "fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(folder, "fonts")}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${join(folder, "cache")}</cachedir>
</fontconfig>
`,
);
