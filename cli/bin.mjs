#!/usr/bin/env node
import { ensureDependencies, importTypeScript, requireNode } from './launcher.mjs';

requireNode();
await ensureDependencies();
const { main } = await importTypeScript('./main.ts');
await main(process.argv.slice(2));
