import { ensureDependencies, importTypeScript, requireNode } from '../cli/launcher.mjs';

requireNode();
await ensureDependencies();
const { main } = await importTypeScript('../test/runner/main.ts');
process.exitCode = await main(process.argv.slice(2));
