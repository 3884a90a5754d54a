import { CliError } from '../errors.ts';

/**
 * Runs the agent that brings this machine's Docker engine into an installation. The token comes from the environment
 * or a file, because a command line can be read by every user of the machine. @throws CliError
 */
export async function agent(options: { api?: string }): Promise<void> {
  if (options.api) process.env.ENDPOINTS_API = options.api;
  if (!process.env.ENDPOINTS_API) {
    throw new CliError('which installation? give --api <url>, or set ENDPOINTS_API');
  }
  if (!process.env.ENDPOINTS_JOIN_TOKEN) {
    throw new CliError(
      "ENDPOINTS_JOIN_TOKEN is not set: make a token with 'endpoints token create --role agent' on the installation",
    );
  }
  await import('../../worker/agent.ts');
}
