import type Docker from 'dockerode';
import type { WeightsPlan } from '../spec/lifecycle.ts';
import { exactImage } from './containers/exact.ts';
import type { HostActivities } from './interfaces.ts';

interface StartReadyDeps {
  docker: Docker;
  weightsPresent(weights: WeightsPlan): Promise<boolean>;
  /** The image is wanted. */
  noteImage(image: string): Promise<void>;
  startContainer: HostActivities['startContainer'];
  waitReady: HostActivities['waitReady'];
}

/** A start in one step, for a host that has image and weights from an earlier one. */
export function createStartReady(deps: StartReadyDeps): Pick<HostActivities, 'startReady'> {
  return {
    async startReady(plan) {
      const [image, weights] = await Promise.all([
        plan.pinnedImage ? exactImage(deps.docker, plan.pinnedImage) : null,
        plan.weights ? deps.weightsPresent(plan.weights) : true,
      ]);
      if (!image || !weights) return { address: null };
      const exact = { ...plan, container: { ...plan.container, image } };
      const { calledAt } = await deps.startContainer(exact);
      const [{ address, readyAt }] = await Promise.all([deps.waitReady(exact), deps.noteImage(image)]);
      return { address, calledAt, readyAt };
    },
  };
}
