// Folders that were dropped or chosen: their files by path, read when they are asked for.

const MOST_DEEP = 16;
const MOST_LOOKED_AT = 20_000;
const NOT_THERE = ["NotFoundError", "TypeMismatchError"];

const folders = new WeakMap(); // by file, the folder in which it was found, ended by a slash

/** The path of a file in the folders that were given; of one that was given alone its name. */
export function pathOf(file) {
  return (folders.get(file) ?? "") + file.name;
}

/**
 * What a drop holds: {files, folders}. Of a folder, `fileAt(path)` gives a file or `null`, `files(most)` those of all
 * folders in it. It has to be asked for while the drop is told, before anything is awaited.
 */
export function droppedIn(transfer) {
  const items = [...transfer.items].filter((one) => one.kind === "file");
  const given = items.map((item) => [item, item.webkitGetAsEntry?.() ?? null]);
  return {
    files: given
      .filter(([, entry]) => !entry?.isDirectory)
      .map(([item]) => item.getAsFile())
      .filter((file) => file !== null),
    folders: given.filter(([, entry]) => entry?.isDirectory).map(([item, entry]) => droppedFolder(item, entry)),
  };
}

/** The folder that was chosen by an input for folders. */
export function chosenFolder(list) {
  const paths = new Map([...list].map((file) => [file.webkitRelativePath.split("/").slice(1).join("/"), file]));
  return { name: list[0].webkitRelativePath.split("/")[0], fileAt: async (path) => paths.get(path) ?? null };
}

/** Chromium gives a page on disk no files of entries, only of handles; other browsers have entries alone. */
function droppedFolder(item, entry) {
  const asked = item.getAsFileSystemHandle ? item.getAsFileSystemHandle().catch(() => null) : Promise.resolve(null);
  const folder = asked.then((handle) => (handle?.kind === "directory" ? handleFolder(handle) : entryFolder(entry)));
  return {
    name: entry.name,
    fileAt: async (path) => (await folder).fileAt(path),
    files: async (most) => listed(await folder, entry.name, most),
  };
}

function handleFolder(handle) {
  return {
    fileAt: (path) =>
      unlessGone(async () => {
        const names = path.split("/");
        let inner = handle;
        for (const name of names.slice(0, -1)) inner = await inner.getDirectoryHandle(name);
        return (await inner.getFileHandle(names.at(-1))).getFile();
      }),
    async *children() {
      for await (const one of handle.values()) {
        yield one.kind === "directory"
          ? { name: one.name, folder: handleFolder(one) }
          : { name: one.name, file: () => one.getFile() };
      }
    },
  };
}

function entryFolder(entry) {
  return {
    fileAt: (path) =>
      unlessGone(async () => fileOf(await new Promise((found, fail) => entry.getFile(path, {}, found, fail)))),
    async *children() {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((found, fail) => reader.readEntries(found, fail));
        if (some.length === 0) return;
        for (const one of some) {
          yield one.isDirectory
            ? { name: one.name, folder: entryFolder(one) }
            : { name: one.name, file: () => fileOf(one) };
        }
      }
    },
  };
}

function fileOf(entry) {
  return new Promise((found, fail) => entry.file(found, fail));
}

async function unlessGone(read) {
  try {
    return await read();
  } catch (error) {
    if (NOT_THERE.includes(error.name)) return null;
    throw error;
  }
}

/** At most so many files, those of upper folders first; what is deeper or more than can be looked at is left out. */
async function listed(folder, name, most) {
  const found = [];
  const left = [{ folder, path: `${name}/`, depth: 1 }];
  let lookedAt = 0;
  for (let inner = left.shift(); inner !== undefined; inner = left.shift()) {
    for await (const one of inner.folder.children()) {
      lookedAt += 1;
      if (found.length >= most || lookedAt > MOST_LOOKED_AT) return found;
      if (one.name.startsWith(".")) continue; // what a system keeps for itself
      if (one.folder && inner.depth < MOST_DEEP)
        left.push({ folder: one.folder, path: `${inner.path}${one.name}/`, depth: inner.depth + 1 });
      if (!one.folder) {
        const file = await one.file();
        folders.set(file, inner.path);
        found.push(file);
      }
    }
  }
  return found;
}
