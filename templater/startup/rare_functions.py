"""The functions that a usual start of a container does not call.

In the file of a hook's modules, the code of these functions is marshalled separately, and the first call
loads it. A function that is missing in the list, or listed although a start calls it, only costs time.

``pytest tests/unit/startup/test_rare_functions.py --update`` writes this file.
"""

RARE: "dict[str, tuple[str, ...]]" = {
    "templater.hooks.compile_cache": (
        "CompileCache._remove_oldest", "CompileCache.save", "_package_age", "compiled_by", "encode",
        "is_entry", "open_cache",
    ),
    "templater.hooks.lxc_config": (
        "_files_in", "_number", "has_index", "layers_of", "lines_of", "of_other_directory",
        "overlay_options",
    ),
    "templater.hooks.options": (
        "_limits", "_seconds", "_set", "_uid", "calls_templater",
    ),
    "templater.hooks.run": (
        "Log.public_lines", "Log.to_file", "_keeps_order", "_log_failure", "_read_file", "_reported",
        "_translated", "_without_hidden", "_write_log", "compare", "probe", "report_failure", "time_is_up",
        "write_stderr",
    ),
    "templater.hooks.runtimes.lxc": (
        "_is_btrfs", "_make_layer", "_open_mount_point", "_refuses_second_mount", "_remove_volatile_mark",
        "_renders", "_require_own", "defer", "has_hook", "in_namespace", "is_deferred", "open_layers",
        "require_mount_hook", "require_mounted", "snippet", "state_folder", "status", "unreadable",
    ),
    "templater.hooks.sandboxed_rendering": (
        "Job.source", "Run.finish_cold", "Run.recompile", "Run.restart", "_compiled", "_import_all",
        "_layer", "_plain", "_rule_values", "_span", "_without_description", "error_fields", "error_read",
    ),
    "templater.hooks.source_stamp": (
        "sources", "stamp_of",
    ),
    "templater.instances.instance_directory": (
        "InstanceDirectory.has_image",
    ),
    "templater.instances.state_directory": (
        "StateDirectory._busy", "StateDirectory.forget_written", "StateDirectory.remember",
        "StateDirectory.remove", "StateDirectory.replace", "make", "write_whole",
    ),
    "templater.instances.written_files": (
        "Record._is_new_in_mount", "Record._path", "Record._read_staged", "Record._too_large",
        "Record._with", "Record.discard", "Record.file", "Record.files", "Record.forget",
        "Record.require_readable", "Record.settle", "_refusal", "content_digest", "entries_of",
        "has_content", "size_of", "size_to_compare", "starts_with_content",
    ),
    "templater.model.entry": (
        "TemplateFile.make_source", "TemplateFile.source",
    ),
    "templater.model.errors": (
        "TemplaterError.explain", "TemplaterError.replace", "described_bug", "reason",
    ),
    "templater.model.instance": (
        "Instance.replace",
    ),
    "templater.model.instance_name": (
        "_typing_problem", "daemon_name_problem",
    ),
    "templater.model.pending_trigger": (
        "pending_after",
    ),
    "templater.model.permissions": (
        "_base", "go_integer", "parse_id", "parse_mode",
    ),
    "templater.model.plan": (
        "Plan.as_agent", "Plan.outcome", "Plan.with_prediction", "_merge",
    ),
    "templater.model.render_options": (
        "RenderOptions.check_time",
    ),
    "templater.model.source": (
        "Source._block", "Source.line_at", "Source.line_start", "Source.span", "Span.excerpt", "_escaped",
        "is_whole", "printable_lines", "whole_characters",
    ),
    "templater.oslite": (
        "address_space", "is_missing", "islink",
    ),
    "templater.planning.changed_rootfs": (
        "ChangedRootfs._compare_again", "ChangedRootfs.made_depth", "ChangedRootfs.read",
        "ChangedRootfs.require_ids", "_flagged",
    ),
    "templater.planning.decide_changes": (
        "_collision", "_create", "_placed", "_skip", "_through_mount",
    ),
    "templater.planning.follow_links": (
        "_Walk.folder", "_Walk.makers", "_Walk.mount", "_Walk.owner", "_Walk.refuse_planted", "_Walk.up",
        "_shown", "place_of",
    ),
    "templater.pongo2": (
        "compile",
    ),
    "templater.pongo2.daemon_context": (
        "_device", "_set_keys", "start_order",
    ),
    "templater.pongo2.execution": (
        "short_message", "unplaced",
    ),
    "templater.pongo2.golang.parse_float": (
        "_parse_hex", "_parse_plain", "_spaced", "parse_float",
    ),
    "templater.pongo2.golang.strings": (
        "_is_separator", "_lower_rune", "_title_rune", "_upper_rune", "fields", "lower_text", "split_text",
        "title_text", "upper_text",
    ),
    "templater.pongo2.operators": (
        "_contains_key", "_contains_text", "_divisor", "_equal_slowly", "_orderable", "add_v4", "add_v6",
        "concat", "contains", "div", "divide_floats", "equal", "less", "less_or_equal", "mod", "mul",
        "negate", "negative", "sub", "wrap64",
    ),
    "templater.pongo2.render_state": (
        "Limits.late", "Render.found", "Render.include", "Render.merged", "Render.random", "charge",
        "check_context", "check_time", "deep", "escape_text", "meta", "no_templates", "out_of_steps",
        "weigh", "work",
    ),
    "templater.pongo2.runtime_functions": (
        "block", "called", "captured", "check_call", "checked_argument", "enter", "escaped", "escaped_if",
        "field", "index", "item", "loop", "macro", "member", "nil_call", "no_block", "operate", "rounds",
        "spent", "start_loop", "too_long", "unknown_filter",
    ),
    "templater.pongo2.values": (
        "CycleValue.to_text", "ForLoop.all_fields", "ForLoop.get", "Struct.get", "Struct.has",
        "Struct.to_text", "_byte_at", "_byte_order", "_float_text", "_sorted", "_struct_field", "_truncate",
        "current_value", "from_bytes", "get_field", "get_index", "gotype", "grow", "has_bytes", "is_nil",
        "is_number", "kind", "length", "loop_field", "recombine", "replace_all", "split_bytes", "subscript",
        "to_float", "to_int", "to_runes", "without_bytes",
    ),
    "templater.rendering.render": (
        "Compiled.compile", "Compiled.compile_source", "Compiled.ignores_trigger", "_late", "_with_rule",
        "render_data", "template_bytes", "without_values",
    ),
    "templater.rootfs.confined": (
        "Directory.entry", "Directory.has_content", "Directory.is_same", "Directory.listdir",
        "Directory.look", "Directory.mkdir", "Directory.mknod", "Directory.rmdir", "Directory.rmdir_at_end",
        "Directory.symlink", "Directory.unlink_if_same", "Root._obstacle", "Root._trouble", "Root.entries",
        "Root.listdir", "_is_mount_by_id", "_leased", "_link_target", "_resolve", "_too_large", "mount_id",
        "open_directory", "open_with_walk", "read_error", "too_many_names", "write_error",
    ),
    "templater.rootfs.directory_rootfs": (
        "DirectoryRootfs._entries", "DirectoryRootfs.listdir", "DirectoryRootfs.read", "IdMap.unshifted",
        "_from", "_open_rootfs", "limit_reading", "open_root", "open_tree", "shifted",
    ),
    "templater.rootfs.held_files": (
        "_can_be_traced", "_close_last", "_hand_over", "_has_ended", "_is_same", "_keep", "_remove_all",
        "_taken", "_unmount", "_wait", "remove_directory", "unmount_at_end",
    ),
    "templater.rootfs.paths": (
        "no_directory", "not_regular", "refuse_bad_name",
    ),
    "templater.rootfs.shared_directories": (
        "_acl_lets_write", "_has_another_number_outside", "_has_other_members",
        "_is_group_of_namespace_owner", "_number_in_etc", "namespace_creator", "namespace_owner",
    ),
    "templater.rootfs.trusted_paths": (
        "_identity", "_owner_error", "_owner_hint", "_refuse_exchange", "_refuse_fifo", "_shared_error",
        "is_magic", "is_replaceable", "is_same_place", "make_folder", "open_fixed_below", "open_folder",
        "open_log", "require_fixed", "trusted_owners",
    ),
    "templater.writing.apply_plan": (
        "_allow_many_files", "_plan_has_failed", "_require_content",
    ),
    "templater.writing.attributes": (
        "_differs", "_too_many",
    ),
    "templater.writing.lock": (
        "_has_waited", "_holder", "_lock_directories", "_read_file", "lock_mounted",
    ),
    "templater.writing.recovery": (
        "Search._clear", "Search._clear_in_overlay", "Search._empty", "Search._is_free",
        "Search._may_be_merged", "Search._may_be_shared", "Search._remove_numbered", "Search.clear",
        "Search.remove_directory", "_is_overlay", "_most_names", "_read_token", "identity", "is_private",
        "is_there",
    ),
    "templater.writing.staged_file": (
        "StagedFile._changed", "StagedFile._commit_new", "StagedFile._copy_old", "StagedFile._link_passing",
        "StagedFile._put_back", "StagedFile._read_pieces", "StagedFile._require_in_place",
        "StagedFile._require_known_owner", "StagedFile._unlink_passing", "StagedFile.put_back",
    ),
    "templater.writing.target_directories": (
        "TargetDirectories._make_owned", "TargetDirectories._make_private",
        "TargetDirectories._remove_private", "TargetDirectories.first_name",
        "TargetDirectories.make_directory", "TargetDirectories.room_for",
    ),
    "templater.writing.transaction": (
        "Transaction._commit_earlier_changes", "Transaction._is_ordered", "Transaction._mounted",
        "Transaction._roll_back", "Transaction._touched", "Transaction._undo", "_first_error",
        "_free_memory",
    ),
}  # fmt: skip
