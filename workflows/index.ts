export { autoscaler } from './autoscaler.ts';
export { endpoint } from './endpoint.ts';
export { host } from './host.ts';
export { janitor } from './janitor.ts';
export { replica } from './replica.ts';
export { scalingRule } from './scaling-rule.ts';
