/** Schemas of the short ids. */
import type * as ids from '../base/ids.ts'
import { Id } from './schema.ts'

export const VmIdSchema = Id<ids.VmId>('vm')
export const HostIdSchema = Id<ids.HostId>('host')
export const DatastoreIdSchema = Id<ids.DatastoreId>('ds')
export const NetworkIdSchema = Id<ids.NetworkId>('net')
export const ImageIdSchema = Id<ids.ImageId>('img')
export const DiskIdSchema = Id<ids.DiskId>('disk')
export const TaskIdSchema = Id<ids.TaskId>('task')
export const TokenIdSchema = Id<ids.TokenId>('token')
export const ClusterIdSchema = Id<ids.ClusterId>('cluster')
export const DatacenterIdSchema = Id<ids.DatacenterId>('dc')
export const FolderIdSchema = Id<ids.FolderId>('folder')
export const PoolIdSchema = Id<ids.PoolId>('pool')
export const AlarmIdSchema = Id<ids.AlarmId>('alarm')
export const TargetIdSchema = Id<ids.TargetId>('target')
export const ProjectIdSchema = Id<ids.ProjectId>('project')
export const ManagerIdSchema = Id<ids.ManagerId>('manager')
export const RuleIdSchema = Id<ids.RuleId>('rule')
