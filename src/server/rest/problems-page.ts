/** `/docs/problems`: what each code of a problem document means, and what to do. */
import { errorCodes, type ErrorCode } from '../../base/errors.ts'

const meanings: Record<ErrorCode, string> = {
  'invalid-request':
    'The request is malformed: a wrong type, an unknown field, a bad name. Mend it; asking again as it is cannot help.',
  'not-signed-in': 'No token or session was sent, or it is unknown, revoked or too old.',
  'not-allowed':
    'The token or session is good, but its role does not include this; or a certificate is not of a host of this cluster.',
  'not-found': 'There is no such object (any more).',
  'name-taken': 'A sibling has this name, MAC or address already.',
  'operation-in-progress': 'Another operation holds the VM; details.task names it. Wait for it, or cancel it.',
  'wrong-state': 'The object is not in a state in which this can be done. Nothing was changed.',
  conflict: 'The object was changed meanwhile. Read it again and decide again.',
  'stale-generation': 'A command was decided on an older state of the VM than the host knows. Nothing was done.',
  'idempotency-mismatch': 'The idempotency key was used for another request. Use a new key.',
  refused: 'A check before the start says that this cannot work; details.reasons says why. Nothing was changed.',
  'bad-image': 'The file is not the image that it says it is, or refers to other files.',
  'checksum-mismatch': 'The data is not what its checksum says. Send it again.',
  'no-space': 'There is not enough room on the datastore.',
  'no-capacity': 'No host has room for this, or a range is used up.',
  'too-large': 'The request, or what it asks for, is larger than what is taken.',
  'too-many-requests': 'Too many at once, or too many wrong tokens. Wait for as long as Retry-After says.',
  cancelled: 'It was cancelled; what it had done was undone.',
  unreachable:
    'The other side did not answer. Whether it was done is not known: ask again, with the same idempotency key.',
  timeout: 'No answer came in time. Whether it was done is not known: ask again, with the same idempotency key.',
  'host-error': 'A host could not do its part; its log says more.',
  'hypervisor-error': 'QEMU could not do its part.',
  'store-error': 'The inventory cannot be written now (a full disk, for one).',
  internal: 'An error of Holdfast itself. The log of the manager says more; please report it.',
}

export function problemsPage(): string {
  const rows = Object.entries(meanings).map(
    ([code, meaning]) =>
      `<tr id="${code}"><td><code>${code}</code></td><td>${errorCodes[code as ErrorCode]}</td><td>${meaning}</td></tr>`,
  )
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Problems – Holdfast API</title>
<link rel="stylesheet" href="/web/style.css">
</head>
<body class="document">
<h1>Problems</h1>
<p>Every error is a problem document (RFC 9457, <code>application/problem+json</code>) with one of these codes in
<code>code</code>. The codes are stable; <code>detail</code> says what happened and <code>mend</code> what to do.</p>
<table>
<thead><tr><th>Code</th><th>Status</th><th>Meaning</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</body>
</html>
`
}
