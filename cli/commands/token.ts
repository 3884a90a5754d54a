import { dataDir } from '../../runtime/config.ts';
import { ROLES, type Role } from '../../spec/permissions.ts';
import { openStore, type Store } from '../../store/database.ts';
import { ensureUser } from '../../store/namespaces.ts';
import { createToken, listTokens, revokeToken } from '../../store/tokens.ts';
import { CliError } from '../errors.ts';
import { readState } from '../up/state.ts';

/** Prints the new token, which is shown this once. @throws CliError */
export async function tokenCreate(options: {
  user: string;
  name: string;
  role: string;
  expires?: string;
}): Promise<void> {
  const role = parseRole(options.role);
  const expiresAt = options.expires === undefined ? undefined : parseDate(options.expires);
  await withStore(async (store) => {
    await ensureUser(store, options.user);
    const { token, id } = await createToken(store, {
      userName: options.user,
      name: options.name,
      role,
      ...(expiresAt ? { expiresAt } : {}),
    });
    console.error(`token ${id} of ${options.user}, role ${role}; it is shown only now:`);
    console.log(token);
  });
}

export async function tokenList(): Promise<void> {
  await withStore(async (store) => {
    for (const token of await listTokens(store)) console.log(JSON.stringify(token));
  });
}

/** @throws EndpointsError NOT_FOUND when there is no such token */
export async function tokenRevoke(id: string): Promise<void> {
  await withStore(async (store) => {
    await revokeToken(store, id);
    console.log(`revoked ${id}`);
  });
}

function parseRole(text: string): Role {
  if (Object.hasOwn(ROLES, text)) return text as Role;
  throw new CliError(`unknown role '${text}': choose one of ${Object.keys(ROLES).join(', ')}`);
}

function parseDate(text: string): Date {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw new CliError(`'${text}' is no date: write it as 2030-01-31`);
  return date;
}

/** Opens the store of `DATABASE_URL`, else of the installation in the data directory. */
async function withStore(act: (store: Store) => Promise<void>): Promise<void> {
  const url = process.env.DATABASE_URL || readState(dataDir()).databaseUrl;
  if (!url)
    throw new CliError(`no installation in ${dataDir()}: start it with 'npm start', or set DATABASE_URL`);
  const store = openStore(url, { maxConnections: 1 });
  try {
    await act(store);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error;
    throw new CliError(
      `the database of ${dataDir()} does not answer: start the installation with 'npm start'`,
    );
  } finally {
    await store.destroy();
  }
}
