import { chmod, link, mkdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, relative, sep } from 'node:path';
import type { PlacedFile } from './layout.ts';

/** The files that are not (wholly) at `where`. Looks at sizes only: what has a name here was verified before it got it. */
export async function absentFiles(
  files: readonly PlacedFile[],
  where: (file: PlacedFile) => string,
): Promise<PlacedFile[]> {
  const present = await Promise.all(
    files.map((placed) =>
      stat(where(placed)).then(
        (found) => found.isFile() && found.size === placed.file.sizeBytes,
        () => false,
      ),
    ),
  );
  return files.filter((_, index) => !present[index]);
}

/** Gives the blobs their names in the snapshot at `root`, readable for whichever user an engine runs as. */
export async function linkSnapshot(root: string, files: readonly PlacedFile[]): Promise<void> {
  await mkdir(root, { recursive: true });
  await chmod(root, 0o755);
  for (const { blob, target } of files) {
    await openFolders(root, dirname(target));
    // In two steps, so that a file of a wrong size is replaced without a moment in which there is none.
    const temporary = `${target}.${process.pid}.new`;
    await rm(temporary, { force: true });
    await link(blob, temporary);
    await rename(temporary, target);
    // Renaming a link onto another link to the same file does nothing, and leaves both.
    await rm(temporary, { force: true });
  }
}

/** Marks the snapshot as used now; eviction begins with the one longest unused. */
export async function touch(root: string): Promise<void> {
  const now = new Date();
  await utimes(root, now, now);
}

async function openFolders(root: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  let at = root;
  for (const step of relative(root, folder).split(sep).filter(Boolean)) {
    at = `${at}${sep}${step}`;
    await chmod(at, 0o755);
  }
}
