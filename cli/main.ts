import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ConfigError } from '../runtime/config.ts';
import { EndpointsError } from '../spec/errors.ts';
import { CliError } from './errors.ts';

/**
 * The `endpoints` command. Each command's code is loaded when it is called. Exit codes: 0 done, 1 failed, 2 wrong
 * usage; `hf` passes on its own.
 */
export async function main(args: string[]): Promise<void> {
  try {
    await program().parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    const expected =
      error instanceof CliError || error instanceof ConfigError || error instanceof EndpointsError;
    console.error(expected ? `error: ${error.message}` : error);
    process.exitCode = 1;
  }
}

function program(): Command {
  const endpoints = new Command('endpoints')
    .description(
      'Self-hosted inference endpoints: name a model, an engine and hardware, get a URL that answers.',
    )
    .enablePositionalOptions()
    .exitOverride();

  endpoints
    .command('up')
    .description('start everything on this machine and stay until Ctrl-C')
    .option('--no-sample', 'do not deploy the sample endpoint')
    .action(async (options: { sample: boolean }) => {
      // Everything has ended by then; a step that was given up must not keep the process alive.
      process.exit(await (await import('./commands/up.ts')).up(options));
    });
  endpoints
    .command('down')
    .description('stop everything, engine containers too; what was stored stays')
    .action(async () => (await import('./commands/down.ts')).down());
  endpoints
    .command('restart-gateway')
    .description('replace the gateway processes of this machine one by one, without a refused connection')
    .action(async () => (await import('./commands/restart-gateway.ts')).restartGateway());
  endpoints
    .command('agent')
    .description("bring this machine's Docker engine into an installation (ENDPOINTS_JOIN_TOKEN)")
    .option('--api <url>', "address of the installation's API (ENDPOINTS_API)")
    .action(async (options: { api?: string }) => (await import('./commands/agent.ts')).agent(options));
  addTokenCommands(endpoints.command('token').description('tokens for the API, the gateway and agents'));
  endpoints
    .command('mirror')
    .argument('<dir>', 'folder that holds <owner>/<name> folders with the files')
    .description("serve a folder of repositories by the Hub's HTTP API")
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port to listen on', port, 8095)
    .action(async (dir: string, options: { host: string; port: number }) =>
      (await import('./commands/mirror.ts')).mirror(dir, options),
    );
  endpoints
    .command('doctor')
    .description('check what an installation stands on, and say what to fix')
    .action(async () => {
      process.exitCode = await (await import('./commands/doctor.ts')).doctor();
    });
  endpoints
    .command('hf')
    .argument('[args...]', "arguments of the hf command, such as 'endpoints ls'")
    .description('run the real hf command against this installation')
    .allowUnknownOption()
    .helpOption(false)
    .passThroughOptions()
    .action(async (args: string[]) => {
      process.exitCode = await (await import('./commands/hf.ts')).hf(args);
    });
  endpoints
    .command('bench')
    .argument('[name]', 'which one')
    .description('run a benchmark')
    .action(async (name: string | undefined) => (await import('./commands/bench.ts')).bench(name));
  return endpoints;
}

function addTokenCommands(token: Command): void {
  token
    .command('create')
    .description('make a token; it is printed once')
    .option('--user <name>', 'whose token; made when new', 'local')
    .option('--name <text>', 'to recognise it by', 'endpoints token create')
    .option('--role <role>', 'write, read, infer or agent', 'write')
    .option('--expires <date>', 'when it ends, such as 2030-01-31')
    .action(async (options: { user: string; name: string; role: string; expires?: string }) =>
      (await import('./commands/token.ts')).tokenCreate(options),
    );
  token
    .command('list')
    .description('one JSON line for each')
    .action(async () => (await import('./commands/token.ts')).tokenList());
  token
    .command('revoke')
    .argument('<id>', "as 'token list' shows it")
    .description('end a token')
    .action(async (id: string) => (await import('./commands/token.ts')).tokenRevoke(id));
}

function port(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value < 65_536) return value;
  throw new InvalidArgumentError('a port is a number from 1 to 65535');
}
