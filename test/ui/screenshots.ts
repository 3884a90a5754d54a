import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import { eventually } from '../support/eventually.ts';
import { FILE, IMAGE, Installation } from '../support/installation.ts';

/**
 * Makes the pictures of `docs/temporal-ui.md`: an installation of its own, one endpoint that goes through everything, one
 * that fails, and a browser that looks at both. Run by hand: see that page.
 */
const FOLDER = resolve(import.meta.dirname, '..', '..', 'docs', 'images');
const BROWSER = process.env.TEST_CHROMIUM || '/usr/bin/chromium';
const WIDTH = 1440;
const LIVES = 'smollm2';
const FAILS = 'mistaken';

/** Of the list: what it shows anyhow, and search attributes. */
const COLUMNS = ['Status', 'Workflow ID', 'EndpointState', 'EndpointEngine', 'EndpointModel', 'EndpointHost'];
/** The UI's own settings, as a browser keeps them: columns of the list, oldest step first, timeline in full. */
const SETTINGS = Object.entries({
  'namespace-workflow-table-columns': { default: COLUMNS.map((label) => ({ label })) },
  eventFilterSort: 'ascending',
  minimizeEventView: false,
})
  .map(([key, value]) => `localStorage.setItem('${key}', '${JSON.stringify(value)}');`)
  .join('\n');

const installation = await Installation.prepare();
const profile = mkdtempSync(join(tmpdir(), 'browser-'));
try {
  await installation.up();
  await live();
  await look(String(installation.connection.temporalUi));
} finally {
  await installation.destroy();
  rmSync(profile, { recursive: true, force: true });
}

/** Create, update, pause, resume, scale to zero, wake; the weights come slowly enough to be seen coming. */
async function live(): Promise<void> {
  const path = `/v2/endpoint/${installation.connection.namespace}/${LIVES}`;
  const stopped = () =>
    eventually('its container is gone', async () => (await installation.containers(LIVES)).length === 0);
  installation.hub.fault = ({ method, route }) =>
    method === 'GET' && route?.kind === 'file' ? { kind: 'slow', bytesPerSecond: 8_000_000 } : undefined;
  await installation.create(LIVES, { scaling: { minReplica: 0, scaleToZeroTimeout: 15 } });
  await installation.until(LIVES, 'running');
  await installation.chat(LIVES);
  const image = { llamacpp: { url: IMAGE, modelPath: FILE, ctxSize: 2048, nParallel: 2, threadsHttp: 2 } };
  await installation.api('PUT', path, { model: { image } });
  await eventually('updating', async () => (await installation.get(LIVES)).status.state === 'updating', {
    everyMs: 5,
  });
  await installation.until(LIVES, 'running');
  await installation.api('POST', `${path}/pause`);
  await stopped();
  await installation.api('POST', `${path}/resume`);
  await installation.until(LIVES, 'running');
  await installation.api('POST', `${path}/scale-to-zero`);
  await stopped();
  await installation.chat(LIVES);
  await installation.until(LIVES, 'running');
  await installation.create(FAILS, { model: { args: ['--no-such-flag'] } });
  await eventually('failed', async () => (await installation.get(FAILS)).status.state === 'failed');
}

async function look(ui: string): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: BROWSER,
    headless: true,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync'],
    ],
    viewport: { width: WIDTH, height: 900 },
  });
  try {
    await browser.addInitScript(SETTINGS);
    const page = await browser.newPage();
    const list = (filter: string) => `${ui}/namespaces/default/workflows?query=${encodeURIComponent(filter)}`;
    const workflow = (id: string) => `${ui}/namespaces/default/workflows/${encodeURIComponent(id)}`;
    const { namespace } = installation.connection;
    const [lives, fails] = [`endpoint/${namespace}/${LIVES}`, `endpoint/${namespace}/${FAILS}`];

    await open(page, list('WorkflowType IN ("endpoint", "replica", "host")'), lives);
    await page.getByLabel('Collapse saved views').click();
    await picture(page, 'temporal-list', 620);
    await open(page, workflow(lives), 'Event History');
    await picture(page, 'temporal-endpoint', 1500);
    await tab(page, 'User Metadata', 'Events with Metadata');
    await picture(page, 'temporal-endpoint-story', 1150);
    await open(page, workflow(`replica/${namespace}/${LIVES}/1`), 'Event History');
    await picture(page, 'temporal-replica', 1360);
    await open(page, workflow(fails), 'Event History');
    await tab(page, 'User Metadata', 'Events with Metadata');
    await picture(page, 'temporal-failed', 800);
    await open(page, list('WorkflowType="host"'), /host\/\w+/);
    await page
      .getByText(/host\/\w+/)
      .first()
      .click();
    await tab(page, 'Pending Activities', 'watchHost');
    await picture(page, 'temporal-host', 560);
  } finally {
    await browser.close();
  }
}

async function open(page: Page, url: string, content: string | RegExp): Promise<void> {
  // Some pages never stop asking for news, so it is their content that is waited for.
  await page.goto(url, { waitUntil: 'commit' });
  await page.getByText(content, { exact: true }).first().waitFor();
}

async function tab(page: Page, name: string, content: string): Promise<void> {
  await page.getByText(name).first().click();
  await page.getByText(content).first().waitFor();
}

async function picture(page: Page, name: string, height: number): Promise<void> {
  await page.setViewportSize({ width: WIDTH, height });
  // What moves into place after the content has come has no end that could be waited for.
  await page.waitForTimeout(900);
  await page.screenshot({ path: join(FOLDER, `${name}.png`) });
}
