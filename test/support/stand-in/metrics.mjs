/** What a server has counted, as each engine writes it: names, labels and moments of appearance as documented. */
export function exposition(engine, counts, model) {
  switch (engine) {
    case 'tgi':
      return [
        gauge('tgi_queue_size', counts.waiting),
        gauge('tgi_batch_current_size', counts.running),
        counter('tgi_request_count', counts.accepted),
        counter('tgi_request_success', counts.succeeded),
        ...(counts.failed
          ? [`# TYPE tgi_request_failure counter\ntgi_request_failure{err="validation"} ${counts.failed}\n`]
          : []),
        histogram('tgi_request_input_length', '', counts.succeeded, counts.read),
        histogram('tgi_request_generated_tokens', '', counts.succeeded, counts.written),
        histogram('tgi_request_duration', '', counts.succeeded, counts.seconds),
        histogram('tgi_request_queue_duration', '', counts.succeeded, 0),
        histogram('tgi_request_mean_time_per_token_duration', '', counts.succeeded, counts.succeeded * 0.02),
      ].join('\n');
    case 'tei':
      // Nothing at all before the first request.
      if (counts.accepted === 0) return '';
      return [
        `# TYPE te_request_count counter\nte_request_count{method="single"} ${counts.accepted}\n`,
        `# TYPE te_request_success counter\nte_request_success{method="single"} ${counts.succeeded}\n`,
        ...(counts.failed
          ? [`# TYPE te_request_failure counter\nte_request_failure{err="validation"} ${counts.failed}\n`]
          : []),
        gauge('te_queue_size', counts.waiting),
        histogram('te_request_duration', 'method="single"', counts.succeeded, counts.seconds),
        histogram('te_request_queue_duration', 'method="single"', counts.succeeded, 0),
        histogram('te_request_input_length', '', counts.succeeded, counts.read),
      ].join('\n');
    case 'infinity':
      return [
        `# TYPE http_requests_total counter\nhttp_requests_total{handler="/embeddings",method="POST",status="2xx"} ${counts.succeeded}\nhttp_requests_total{handler="/health",method="GET",status="2xx"} 7\n`,
        histogram(
          'http_request_duration_seconds',
          'handler="/embeddings",method="POST"',
          counts.succeeded,
          counts.seconds,
        ),
      ].join('\n');
    default: {
      const labels = `model_name="${model}"`;
      return [
        gauge('sglang:num_running_reqs', counts.running, labels),
        gauge('sglang:num_queue_reqs', counts.waiting, labels),
        gauge('sglang:token_usage', counts.running / 10, labels),
        counter('sglang:prompt_tokens_total', counts.read, labels),
        counter('sglang:generation_tokens_total', counts.written, labels),
        histogram('sglang:time_to_first_token_seconds', labels, counts.succeeded, counts.succeeded * 0.02),
        histogram('sglang:e2e_request_latency_seconds', labels, counts.succeeded, counts.seconds),
        histogram('sglang:inter_token_latency_seconds', labels, counts.written, counts.written * 0.02),
      ].join('\n');
    }
  }
}

const braces = (labels) => (labels ? `{${labels}}` : '');
const gauge = (name, value, labels) => `# TYPE ${name} gauge\n${name}${braces(labels)} ${value}\n`;
const counter = (name, value, labels) => `# TYPE ${name} counter\n${name}${braces(labels)} ${value}\n`;

function histogram(name, labels, count, sum) {
  const all = [labels, 'le="+Inf"'].filter(Boolean).join(',');
  return `# TYPE ${name} histogram\n${name}_bucket{${all}} ${count}\n${name}_sum${braces(labels)} ${sum}\n${name}_count${braces(labels)} ${count}\n`;
}
