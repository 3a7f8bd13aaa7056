/// <reference lib="dom" />
/** The first web page in a real browser: signs in by the link, shows what is there, shows a VM's screen, and moves it. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { chromium, type Browser, type Page } from 'playwright-core'
import { TestLab } from '../support/lab.ts'

const executablePath = '/usr/bin/chromium'
const patienceMs = 180_000
/** A folder for pictures of what the test sees. */
const pictures = process.env['HOLDFAST_TEST_PICTURES']

let lab: TestLab
let browser: Browser
let page: Page

before(async () => {
  lab = await TestLab.open({ name: `mw${process.pid % 100_000}`, hosts: 2, diskGiB: 1 })
  await lab.createVm({ name: 'shown', disks: [{ sizeBytes: 2 ** 24, datastore: 'shared' }] })
  const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking']
  browser = await chromium.launch({ executablePath, args })
  page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 1200, height: 800 } })
  page.setDefaultTimeout(patienceMs)
})
after(async () => {
  await browser?.close()
  await lab?.[Symbol.asyncDispose]()
})

async function picture(name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png` })
}

const row = (name: string) => page.locator('tr', { hasText: name })

test('the link signs in, once, and the page shows the hosts and the VM', async () => {
  await page.goto(lab.up.link)
  await row('shown').waitFor()
  for (const host of lab.hosts) assert.ok((await page.getByText(host, { exact: true }).count()) > 0, host)
  const vm = await lab.vm('shown')
  const text = (await row('shown').innerText()).replaceAll(/\s+/g, ' ')
  assert.match(text, /running/)
  assert.ok(text.includes(vm.host ?? '') && text.includes(vm.addresses[0] ?? ''), text)
  assert.ok(!page.url().includes('code='), 'the code is not left in the address')
  await picture('list')

  const other = await browser.newPage({ ignoreHTTPSErrors: true })
  await other.goto(lab.up.link)
  await other.getByText(/code/i).first().waitFor()
  assert.equal(await other.locator('tr').count(), 0, 'the code works once')
  await other.close()
})

test('the live screen of the VM is a picture, not a blank', async () => {
  await row('shown').getByRole('button', { name: 'Screen' }).click()
  const canvas = page.locator('dialog canvas')
  await canvas.waitFor()
  await page.waitForFunction(
    () => {
      const found = document.querySelector<HTMLCanvasElement>('dialog canvas')
      if (found === null || found.width < 100) return false
      const { data } = found.getContext('2d')?.getImageData(0, 0, found.width, found.height) ?? { data: [] }
      const colours = new Set<number>()
      for (let at = 0; at < data.length; at += 4) colours.add(data[at]! * 65536 + data[at + 1]! * 256 + data[at + 2]!)
      return colours.size > 1
    },
    undefined,
    { timeout: patienceMs },
  )
  await picture('screen')
  await page.locator('dialog').getByRole('button', { name: 'Close' }).click()
})

test('the button moves the VM, and its row changes host without a reload', async () => {
  const vm = await lab.vm('shown')
  const to = lab.hosts.find((host) => host !== vm.host) ?? ''
  await page.evaluate(() => document.body.setAttribute('data-same-page', 'yes'))
  await row('shown').getByRole('button', { name: 'Move' }).click()
  const choice = page.locator('dialog').getByRole('button', { name: to })
  await choice.waitFor()
  await picture('move')
  await choice.click()
  await row('shown').getByRole('cell', { name: to, exact: true }).waitFor()
  await row('shown').getByText('running').waitFor()
  await picture('moved')
  assert.equal(await page.getAttribute('body', 'data-same-page'), 'yes')
  assert.equal((await lab.vm('shown')).host, to)
})
