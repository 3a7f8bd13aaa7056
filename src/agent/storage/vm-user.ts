/** The unprivileged user of each VM: the same number on every host, so that shared storage knows it everywhere. */
import { idNumber, type VmId } from '../../base/ids.ts'

const firstUid = 640_000

export function userOf(vm: VmId): { readonly uid: number; readonly gid: number } {
  const uid = firstUid + idNumber(vm)
  return { uid, gid: uid }
}
