/** Keeps secrets out of what others say and people get to see. Pure. */

/** The text without any of the secrets, in whatever form programs print them. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const forms = secrets
    .filter((secret) => secret !== '')
    .flatMap((secret) => [
      secret,
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      secret.replaceAll("'", `'\\''`),
    ])
  // The longest first, so that no part of one is left over by another.
  const longestFirst = [...new Set(forms)].sort((a, b) => b.length - a.length)
  return longestFirst.reduce((words, form) => words.replaceAll(form, '***'), text)
}
