// The dashboard: draws the state that /api/v1/events sends, again with each event. All text that it
// shows is somebody else's: it goes in by textContent, and class names come from tables here alone.
'use strict';

const byId = (id) => document.getElementById(id);
const QUIET_MS = 25000; // the watcher speaks every 10 s
const RETRY_MS = 3000;
const CHART_SECONDS = 3600;
const BUCKET_SECONDS = 15;
const SAMPLES_MAX = 800; // of a node
let state = null;
let offsetMs = 0; // the watcher's clock less ours
let heardMs = 0;
let samples = new Map(); // node id -> [[seconds, p50, p99, queued], ...]
let historyOf = null; // what the history was fetched for

// ---- helpers

const listOf = (value) => (Array.isArray(value) ? value : []);
const numberOf = (value) => (typeof value === 'number' && isFinite(value) ? value : null);
const textOf = (value) => (typeof value === 'string' ? value : '');
const natural = new Intl.Collator('en', { numeric: true });
const nowMs = () => Date.now() + offsetMs;

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setTone(element, tone) {
  if (element.dataset.tone !== tone) element.dataset.tone = tone;
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

// Keeps an element for each item by its key, in the items' order: what has the focus keeps it.
function draw(parent, items, keyOf, create, fill) {
  const old = parent.kept || new Map();
  const kept = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (kept.has(key)) continue;
    const element = old.get(key) || create(item);
    old.delete(key);
    kept.set(key, element);
    fill(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of old.values()) element.remove();
  parent.kept = kept;
}

function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function ago(time) {
  const ms = Date.parse(textOf(time));
  return isNaN(ms) ? '' : span(nowMs() - ms);
}

const clock = (time) => textOf(time).slice(11, 16);
const day = (time) => textOf(time).slice(0, 10);
const stamp = (time) => `${day(time)} ${textOf(time).slice(11, 19)} UTC`;

function latencyWords(ms) {
  if (ms === null) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const many = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

// ---- nodes

const CHECK_TONES = { ok: 'ok', warning: 'warning', unknown: 'unknown', critical: 'critical' };
const NODE_STATES = { draining: 'draining', drained: 'draining', maintenance: 'maintenance' };

// What the eye is to see first: is it there, then is it meant to work.
function nodeTone(member, figures) {
  const status = textOf(member.status);
  if (status === 'failed') return ['failed', 'failed'];
  if (status === 'suspect') return ['suspect', 'suspect'];
  if (status === 'left' || status === 'leaving') return ['left', status];
  if (figures && figures.answers === false) return ['failed', 'does not answer'];
  const told = textOf((member.tags || {}).state) || textOf((figures || {}).state);
  if (Object.hasOwn(NODE_STATES, told)) return [NODE_STATES[told], told];
  return ['ok', 'alive'];
}

function createNode(row) {
  const element = make('li');
  const top = make('div', 'top');
  top.append(make('span', 'id', row.id), make('span', 'state-word'));
  const bars = make('div', 'bars');
  for (const name of ['CPU', 'memory', 'disk']) {
    const bar = make('div', 'bar');
    bar.setAttribute('role', 'meter');
    bar.setAttribute('aria-label', `${name} of ${row.id}`);
    bar.setAttribute('aria-valuemin', '0');
    bar.setAttribute('aria-valuemax', '100');
    bar.append(make('i'));
    bars.append(make('span', '', name), bar, make('span', 'value'));
  }
  element.append(top, make('p', 'why'), bars, make('p', 'facts'), make('p', 'facts'));
  element.dataset.node = row.id;
  return element;
}

function fillBar(bars, index, value, tone) {
  const bar = bars.children[index * 3 + 1];
  const width = value === null ? 0 : Math.min(100, Math.max(0, value));
  bar.firstElementChild.style.width = `${width}%`;
  bar.setAttribute('aria-valuenow', String(Math.round(width)));
  setTone(bar, tone);
  setText(bars.children[index * 3 + 2], value === null ? '–' : `${Math.round(value)}%`);
}

function fillNode(element, row) {
  const [tone, word] = row.tone;
  const figures = row.figures || {};
  const system = figures.system || {};
  const messages = figures.messages || {};
  const agents = figures.agents || {};
  const [top, why, bars, facts, more] = element.children;
  setTone(element, tone);
  setText(top.lastElementChild, word);
  const since = tone === 'ok' ? '' : `since ${ago(row.member.since)}`;
  const bad = tone === 'failed' || tone === 'left' ? [] : row.checks.map((check) => textOf(check.message));
  setText(why, [since, ...bad.slice(0, 3)].filter((part) => part).join(' · '));
  setTone(why, tone !== 'ok' ? tone : row.checks.some((check) => check.status === 'critical') ? 'critical' : 'warning');
  ['cpu', 'memory', 'disk'].forEach((name, index) => {
    const check = row.checks.find((each) => each.name === `${name}_usage`);
    const tones = check ? CHECK_TONES[check.status] || 'unknown' : 'ok';
    fillBar(bars, index, numberOf(system[`${name}_percent`]), tones);
  });
  bars.hidden = tone === 'left';
  const queued = numberOf(messages.queued) || 0;
  const flight = numberOf(messages.in_flight) || 0;
  const failed = numberOf(agents.failed) || 0;
  setText(facts, row.figures && numberOf(agents.total) !== null
    ? `${many(agents.total, 'agent')}${failed ? `, ${failed} failed` : ''} · ${queued} queued, ${flight} in flight`
    : '');
  const latency = figures.latency_ms || {};
  setText(more, row.figures
    ? [textOf(figures.version) && `cx ${textOf(figures.version)}`,
       numberOf(latency.p99) !== null && `p99 ${latencyWords(latency.p99)}`].filter((part) => part).join(' · ')
    : '');
  element.title = textOf(row.member.addr);
}

function nodeRows() {
  const figures = new Map(listOf(state.nodes).map((node) => [textOf(node.node_id), node]));
  const checks = new Map();
  for (const check of listOf(state.checks)) {
    if (check.status === 'ok' || textOf(check.node_id) === '') continue;
    checks.set(check.node_id, [...(checks.get(check.node_id) || []), check]);
  }
  return listOf(state.members).map((member) => {
    const id = textOf(member.node_id);
    return { id, member, figures: figures.get(id), tone: nodeTone(member, figures.get(id)),
      checks: (checks.get(id) || []).filter((check) => check.status !== 'unknown') };
  }).sort((a, b) => natural.compare(a.id, b.id));
}

function drawNodes(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.tone[1], (counts.get(row.tone[1]) || 0) + 1);
  setText(byId('nodes-count'), [...counts].map(([word, count]) => `${count} ${word}`).join(', '));
  draw(byId('nodes'), rows, (row) => row.id, createNode, fillNode);
}

// ---- alerts

const SEVERITIES = { critical: 'critical', warning: 'warning', info: 'draining' };
const ALERT_ORDER = { firing: 0, pending: 1, silenced: 2, resolved: 3 };

function alertTone(alert) {
  if (alert.state === 'firing' && !alert.inhibited_by) return SEVERITIES[alert.severity] || 'warning';
  if (alert.state === 'resolved') return 'ok';
  return alert.state === 'pending' ? 'unknown' : 'silenced';
}

const orderOf = (alert) => (alert.inhibited_by ? 2.5 : ALERT_ORDER[alert.state] ?? 9);

function alertRows() {
  return listOf(state.alerts).filter((alert) => alert.state !== 'resolved' || nowMs() - Date.parse(alert.resolved_at) < 300000)
    .sort((a, b) => orderOf(a) - orderOf(b) ||
      (a.severity === 'critical' ? 0 : 1) - (b.severity === 'critical' ? 0 : 1) || natural.compare(`${a.name} ${a.subject}`, `${b.name} ${b.subject}`));
}

function createAlert() {
  const element = make('li');
  const line = make('div');
  line.append(make('span', 'name'), document.createTextNode(' '), make('span', 'dim'), document.createTextNode(' '), make('span', 'word'));
  const button = make('button', '', 'Silence…');
  button.type = 'button';
  button.addEventListener('click', () => askSilence(element.shown));
  element.append(line, make('p', 'message'), make('p', 'since'), button);
  return element;
}

function fillAlert(element, alert) {
  const [line, message, since, button] = element.children;
  const quiet = alert.state === 'silenced' && Object.hasOwn(NODE_STATES, alert.silence_id);
  const word = alert.inhibited_by ? `follows from ${alert.inhibited_by}`
    : `${textOf(alert.severity)}, ${quiet ? `quiet: the node is ${alert.silence_id === 'maintenance' ? 'in ' : ''}${alert.silence_id}` : textOf(alert.state)}`;
  element.shown = alert;
  element.dataset.alert = textOf(alert.name);
  element.dataset.subject = textOf(alert.subject);
  element.dataset.state = textOf(alert.state);
  setTone(element, alertTone(alert));
  setText(line.children[0], textOf(alert.name));
  setText(line.children[1], textOf(alert.subject));
  setText(line.children[2], alert.state === 'pending' && !alert.inhibited_by ? `${word} for ${ago(alert.since)}` : word);
  setText(message, textOf(alert.message));
  setText(since, alert.state === 'resolved' ? `over since ${ago(alert.resolved_at)}` : `since ${ago(alert.since)}, ${stamp(alert.since)}`);
  since.hidden = alert.state === 'pending';
  button.hidden = state.silencing === 'off' || alert.state === 'silenced' || alert.state === 'resolved';
  button.setAttribute('aria-label', `Silence ${textOf(alert.name)} on ${textOf(alert.subject)}`);
}

function createSilence() {
  const element = make('li');
  const button = make('button', '', 'End…');
  button.type = 'button';
  button.addEventListener('click', () => askUnsilence(element.shown));
  element.append(make('span'), button);
  return element;
}

function fillSilence(element, silence) {
  const name = silence.name === '*' ? 'every alert' : textOf(silence.name);
  const where = silence.subject ? ` on ${silence.subject}` : '';
  const left = span(Date.parse(textOf(silence.ends_at)) - nowMs());
  const why = silence.reason ? `: ${silence.reason}` : '';
  element.shown = silence;
  element.dataset.silence = textOf(silence.name);
  setText(element.firstElementChild, `${name}${where}, ${left} left, by ${textOf(silence.owner)}${why}`);
  element.lastElementChild.hidden = state.silencing === 'off';
  element.lastElementChild.setAttribute('aria-label', `End the silence of ${name}${where}`);
}

const isActive = (alert) => alert.state === 'firing' && !alert.inhibited_by;

function drawAlerts() {
  const rows = alertRows();
  const silences = listOf(state.silences);
  const active = rows.filter(isActive).length;
  const pending = rows.filter((alert) => alert.state === 'pending').length;
  byId('no-alerts').hidden = rows.some((alert) => alert.state !== 'resolved');
  setText(byId('alerts-count'), [active && `${active} firing`, pending && `${pending} pending`].filter((part) => part).join(', '));
  draw(byId('alerts'), rows, (alert) => textOf(alert.key), createAlert, fillAlert);
  byId('silences-part').hidden = silences.length === 0;
  draw(byId('silences'), silences, (silence) => textOf(silence.id), createSilence, fillSilence);
}

function drawHistory(changes) {
  const words = { firing: 'critical', resolved: 'ok', pending: 'unknown', cleared: 'ok' };
  const rows = listOf(changes).map((change, index) => ({ change, index })).reverse();
  byId('no-history').hidden = rows.length > 0;
  draw(byId('history'), rows, (row) => `${row.change.at} ${row.change.key} ${row.change.state} ${row.index}`, () => {
    const element = make('li');
    element.append(make('time'), make('span', 'word'), make('span', 'what'));
    return element;
  }, (element, { change }) => {
    setText(element.children[0], clock(change.at));
    element.children[0].title = stamp(change.at);
    setTone(element.children[1], Object.hasOwn(words, change.state) ? words[change.state] : 'unknown');
    setText(element.children[1], textOf(change.state));
    setText(element.children[2], `${textOf(change.name)} ${textOf(change.subject)}: ${textOf(change.message)}`);
  });
}

// ---- agents, certificates, backups

function cells(count) {
  const row = make('tr');
  for (let i = 0; i < count; i++) row.append(make('td', i > 2 && count > 3 ? 'number' : ''));
  return row;
}

function drawAgents() {
  const rows = [];
  let total = 0;
  for (const node of listOf(state.nodes)) {
    total += numberOf(node.agent_count) || 0;
    for (const agent of listOf(node.agent_list)) rows.push({ node: textOf(node.node_id), agent });
  }
  const weight = (row) => (row.agent.state === 'failed' ? 2 : row.agent.responsive === false ? 1 : 0);
  rows.sort((a, b) => weight(b) - weight(a) || natural.compare(a.agent.id, b.agent.id));
  const shown = rows.slice(0, 200);
  byId('no-agents').hidden = shown.length > 0;
  byId('agents-table').hidden = shown.length === 0;
  setText(byId('agents-count'), total ? `${total}${shown.length < total ? `, ${shown.length} shown: trouble and the busiest first` : ''}` : '');
  draw(byId('agents'), shown, (row) => `${row.node} ${row.agent.id}`, () => cells(8), (element, { node, agent }) => {
    const [id, where, word, ...numbers] = element.children;
    const failed = agent.state === 'failed';
    setText(id, textOf(agent.id));
    setText(where, node);
    setText(word, agent.responsive === false && !failed ? 'does not respond' : textOf(agent.state));
    setTone(word, failed ? 'failed' : agent.responsive === false ? 'warning' : 'ok');
    [agent.queued, agent.in_flight, agent.processed, agent.failed].forEach((value, index) =>
      setText(numbers[index], numberOf(value) === null ? '–' : String(value)));
    setText(numbers[4], latencyWords(numberOf((agent.latency_ms || {}).p99)));
  });
}

// Each node's row, coloured by the check that judges it.
function drawTimes(body, rows, checkName, timeOf, wordsOf) {
  const status = new Map(listOf(state.checks).filter((check) => check.name === checkName)
    .map((check) => [check.node_id, check.status]));
  draw(byId(body), rows.filter((row) => row.figures), (row) => row.id, () => cells(3), (element, row) => {
    const time = textOf(timeOf(row.figures));
    const tone = CHECK_TONES[status.get(row.id)] || 'unknown';
    setText(element.children[0], row.id);
    setText(element.children[1], time ? wordsOf(Date.parse(time)) : 'none yet');
    setTone(element.children[1], tone === 'unknown' ? 'ok' : tone);
    setText(element.children[2], time ? (checkName === 'cert_expiry' ? day(time) : stamp(time)) : '');
  });
}

// ---- charts

const SVG = 'http://www.w3.org/2000/svg';

function svg(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text) element.textContent = text;
  return element;
}

// 1, 2 or 5 times a power of ten.
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

// [[seconds, value], ...] of the chosen nodes in buckets: the worst of latencies, the sum of queues.
function series(column, add) {
  const chosen = byId('chart-node').value;
  const first = nowMs() / 1000 - CHART_SECONDS;
  const buckets = new Map();
  for (const [node, list] of samples) {
    if (chosen !== '' && node !== chosen) continue;
    const own = new Map();
    for (const sample of list) {
      if (sample[0] < first || numberOf(sample[column]) === null) continue;
      const bucket = Math.floor(sample[0] / BUCKET_SECONDS);
      own.set(bucket, Math.max(sample[column], own.get(bucket) ?? 0));
    }
    for (const [bucket, value] of own)
      buckets.set(bucket, add ? value + (buckets.get(bucket) || 0) : Math.max(value, buckets.get(bucket) || 0));
  }
  return [...buckets].sort((a, b) => a[0] - b[0]).map(([bucket, value]) => [bucket * BUCKET_SECONDS, value]);
}

function pathOf(points, x, y) {
  let path = '';
  let last = -Infinity;
  for (const [seconds, value] of points) { // a gap is nothing measured
    path += `${seconds - last > 6 * BUCKET_SECONDS ? 'M' : 'L'}${x(seconds).toFixed(1)} ${y(value).toFixed(1)}`;
    if (seconds - last > 6 * BUCKET_SECONDS) path += 'h1';
    last = seconds;
  }
  return path;
}

function drawChart(element, lines, words) {
  const width = element.clientWidth || 600;
  const height = element.clientHeight || 120;
  const left = 52;
  const bottom = 18;
  const end = nowMs() / 1000;
  const all = lines.flatMap(([, points]) => points);
  const first = all.length ? Math.min(...all.map((point) => point[0])) : end;
  const range = [300, 900, 1800, CHART_SECONDS].find((seconds) => end - first <= seconds) || CHART_SECONDS;
  const top = niceAbove(Math.max(1, ...all.map((point) => point[1])));
  const x = (seconds) => left + (width - left - 4) * (1 - (end - seconds) / range);
  const y = (value) => 6 + (height - bottom - 6) * (1 - value / top);
  const parts = [];
  for (const share of height > 120 ? [0, 0.5, 1] : [0, 1]) {
    parts.push(svg('line', { x1: left, x2: width, y1: y(top * share), y2: y(top * share) }));
    parts.push(svg('text', { x: left - 6, y: y(top * share) + 4, 'text-anchor': 'end' }, words(top * share)));
  }
  parts.push(svg('text', { x: left, y: height - 3 }, `${span(range * 1000)} ago`));
  parts.push(svg('text', { x: width, y: height - 3, 'text-anchor': 'end' }, 'now'));
  for (const [name, points] of lines) parts.push(svg('path', { class: name, d: pathOf(points, x, y) || 'M0 0' }));
  element.setAttribute('viewBox', `0 0 ${width} ${height}`);
  element.replaceChildren(...parts);
}

function drawCharts() {
  const p50 = series(1, false);
  const p99 = series(2, false);
  const queued = series(3, true);
  const last = (points) => (points.length ? points[points.length - 1][1] : null);
  drawChart(byId('latency'), [['p50', p50], ['p99', p99]], (value) => (value === 0 ? '0' : latencyWords(value)));
  drawChart(byId('queued'), [['sum', queued]], (value) => String(Math.round(value)));
  setText(byId('latency-now'), p99.length ? `now p50 ${latencyWords(last(p50))}, p99 ${latencyWords(last(p99))}` : 'no message was measured yet');
  setText(byId('queued-now'), queued.length ? `now ${Math.round(last(queued))}` : '');
}

function noteSamples() {
  for (const node of listOf(state.nodes)) {
    const id = textOf(node.node_id);
    const seconds = Math.floor(Date.parse(textOf(node.at)) / 1000);
    const list = samples.get(id) || [];
    if (isNaN(seconds) || (list.length && list[list.length - 1][0] + 4 > seconds)) continue;
    const latency = node.latency_ms || {};
    list.push([seconds, numberOf(latency.p50), numberOf(latency.p99), numberOf((node.messages || {}).queued)]);
    samples.set(id, list.slice(-SAMPLES_MAX));
  }
}

function drawChoice(rows) {
  const select = byId('chart-node');
  const ids = ['', ...rows.map((row) => row.id)];
  if (select.options.length === ids.length && ids.every((id, index) => select.options[index].value === id)) return;
  const chosen = select.value;
  select.replaceChildren(...ids.map((id) => {
    const option = make('option', '', id || 'all nodes');
    option.value = id;
    return option;
  }));
  select.value = ids.includes(chosen) ? chosen : '';
}

// ---- all of it

function verdict(rows) {
  const active = alertRows().filter(isActive);
  const failed = rows.filter((row) => row.tone[0] === 'failed');
  const silenced = listOf(state.alerts).some((alert) => alert.state === 'silenced');
  const parts = [failed.length && `${many(failed.length, 'node')} down`, active.length && `${many(active.length, 'alert')} firing`].filter((part) => part);
  if (parts.length) return [failed.length || active.some((alert) => alert.severity === 'critical') ? 'critical' : 'warning', parts.join(', ')];
  if (state.status === 'unknown') return ['unknown', 'not everything is known'];
  if (state.status === 'ok' || silenced) return ['ok', silenced ? 'quiet: what fires is silenced' : 'all is well'];
  return ['warning', 'some checks warn'];
}

function render() {
  const rows = nodeRows();
  const [tone, words] = verdict(rows);
  const errors = listOf(state.errors).map(textOf);
  setText(byId('cluster'), textOf(state.cluster));
  setText(byId('verdict'), words);
  setTone(byId('verdict'), tone);
  document.title = `${tone === 'ok' ? '' : `${words} – `}${textOf(state.cluster)} – cx`;
  byId('errors').hidden = errors.length === 0;
  draw(byId('errors'), errors, (error) => error, (error) => make('li', '', error), () => {});
  drawAlerts();
  drawNodes(rows);
  drawChoice(rows);
  drawCharts();
  drawAgents();
  drawTimes('certificates', rows, 'cert_expiry', (node) => (node.certificate || {}).not_after, (ms) => `${span(ms - nowMs())} left`);
  drawTimes('backups', rows, 'backup_age', (node) => (node.backup || {}).last_success_at, (ms) => `${span(nowMs() - ms)} old`);
  setText(byId('watcher'), textOf(state.watcher));
  const others = listOf(state.watchers).length;
  setText(byId('watchers'), others > 1 ? `and ${many(others - 1, 'other')}` : '');
}

// ---- what comes

async function fetchJson(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function fetchSamples() {
  const document = await fetchJson('api/v1/samples');
  samples = new Map(Object.entries(document.samples).map(([node, list]) => [node, listOf(list)]));
  if (state) drawCharts();
}

async function fetchHistory() {
  const wanted = JSON.stringify(listOf(state.alerts).map((alert) => [alert.key, alert.state, alert.fired_at, alert.resolved_at]));
  if (wanted === historyOf) return;
  historyOf = wanted;
  try {
    drawHistory((await fetchJson('api/v1/history')).history);
  } catch {
    historyOf = null;
  }
}

function drawLink() {
  const silent = Date.now() - heardMs;
  const live = heardMs > 0 && silent < QUIET_MS;
  document.body.classList.toggle('stale', heardMs > 0 && !live);
  setTone(byId('link'), live ? 'ok' : heardMs > 0 ? 'critical' : 'unknown');
  setText(byId('link-words'), live ? `live, ${clock(new Date(nowMs()).toISOString())} UTC` : heardMs > 0 ? `no news from the watcher for ${span(silent)}` : 'connecting');
}

function hear(event) {
  state = JSON.parse(event.data);
  heardMs = Date.now();
  offsetMs = Date.parse(state.time) - heardMs;
  noteSamples();
  render();
  drawLink();
  fetchHistory();
}

function listen() {
  const source = new EventSource('api/v1/events');
  source.addEventListener('open', () => fetchSamples().catch(() => {}));
  source.addEventListener('state', hear);
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS); // refused: it would not try again
  });
}

// ---- silences

let pending = null; // what the dialog is about to ask

function openDialog(title, text, action, fields, request) {
  pending = request;
  setText(byId('dialog-title'), title);
  setText(byId('dialog-text'), text);
  setText(byId('submit'), action);
  byId('silence-fields').hidden = !fields;
  byId('token-field').hidden = state.silencing !== 'token';
  byId('dialog-error').hidden = true;
  byId('token').value = sessionStorage.getItem('token') || '';
  byId('dialog').showModal();
}

function askSilence(alert) {
  byId('any-subject').checked = false;
  byId('reason').value = '';
  openDialog(`Silence ${alert.name}`, `on ${alert.subject}. The watchers go on looking; nobody is told.`, 'Silence', true, () => ['silence', {
    name: alert.name,
    ...(byId('any-subject').checked ? {} : { subject: alert.subject }),
    reason: byId('reason').value,
    for_seconds: Number(byId('for').value),
  }]);
}

function askUnsilence(silence) {
  openDialog('End the silence', `${silence.name === '*' ? 'every alert' : silence.name}${silence.subject ? ` on ${silence.subject}` : ''}, made by ${silence.owner}. What still fires is told at once.`,
    'End it', false, () => ['unsilence', { id: silence.id, force: true }]);
}

async function submit(event) {
  event.preventDefault();
  const [path, body] = pending();
  const headers = { 'Content-Type': 'application/json', 'X-CX-Dashboard': '1' };
  if (state.silencing === 'token') headers.Authorization = `Bearer ${byId('token').value}`;
  byId('submit').disabled = true;
  try {
    const answer = await fetch(`api/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(textOf(((await answer.json()).error || {}).message) || `status ${answer.status}`);
    if (state.silencing === 'token') sessionStorage.setItem('token', byId('token').value);
    byId('dialog').close();
  } catch (error) {
    setText(byId('dialog-error'), error.message);
    byId('dialog-error').hidden = false;
  }
  byId('submit').disabled = false;
}

byId('form').addEventListener('submit', submit);
byId('cancel').addEventListener('click', () => byId('dialog').close());
byId('chart-node').addEventListener('change', drawCharts);
window.addEventListener('resize', () => state && drawCharts());
setInterval(() => {
  drawLink();
  if (state && heardMs > 0) render(); // ages go on
}, 5000);
listen();
