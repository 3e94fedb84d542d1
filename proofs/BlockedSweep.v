(* The sweep in blocks, as one runs it on a real matrix: inside a block an error is pushed only as far as
   the block's end, and when the block is done its errors reach all later columns in one product.
   Whatever the sizes of the blocks, the working values and the decoded weights are those of the plain
   sweep, so what is proved of that one holds for the blocked one too. *)

From Coq Require Import Reals Lra Lia Arith List.
From Assay Require Import FiniteSums Sweep.
Import ListNotations.
Open Scope R_scope.

Definition step_inside
    (V : nat -> nat -> R) (Q : nat -> R -> R) (w : nat -> R) (b j : nat) (s : state) : state :=
  let q := Q j (working s j) in
  {| working := fun k =>
       if ((j <? k) && (k <? b))%nat%bool then working s k + (w j - q) * V j k else working s k;
     decoded := fun k => if (k =? j)%nat then q else decoded s k |}.

(* The first [count] columns of the block [a, b). *)
Fixpoint inside V Q w (a b count : nat) (s : state) : state :=
  match count with
  | O => s
  | S c => step_inside V Q w b (a + c) (inside V Q w a b c s)
  end.

Definition flush (V : nat -> nat -> R) (w : nat -> R) (a size : nat) (s : state) : state :=
  {| working := fun k =>
       if (a + size <=? k)%nat
       then working s k + \sum_(i < size) ((w (a + i)%nat - decoded s (a + i)%nat) * V (a + i)%nat k)
       else working s k;
     decoded := decoded s |}.

Fixpoint blocked V Q w (a : nat) (sizes : list nat) (s : state) : state :=
  match sizes with
  | [] => s
  | size :: later => blocked V Q w (a + size) later (flush V w a size (inside V Q w a (a + size) size s))
  end.

Definition same (s t : state) : Prop := forall k, working s k = working t k /\ decoded s k = decoded t k.

(* What the columns a .. a+count-1 of the plain sweep push beyond themselves. *)
Lemma pushed : forall V Q w a count k, (a + count <= k)%nat ->
  let t := sweep V Q w (a + count) in
  working t k = working (sweep V Q w a) k
    + \sum_(i < count) ((w (a + i)%nat - decoded t (a + i)%nat) * V (a + i)%nat k).
Proof.
  intros V Q w a count k; induction count as [|c IH]; intros beyond t; unfold t.
  - rewrite Nat.add_0_r. simpl. ring.
  - rewrite Nat.add_succ_r. simpl. rewrite (proj2 (Nat.ltb_lt (a + c) k)), Nat.eqb_refl, IH by lia.
    rewrite Rplus_assoc. f_equal. f_equal. apply sum_ext; intros i ?.
    destruct (Nat.eqb_spec (a + i) (a + c)); [lia|reflexivity].
Qed.

Lemma inside_is_sweep : forall V Q w a b count s,
  same s (sweep V Q w a) -> (a + count <= b)%nat ->
  let t := inside V Q w a b count s in
  forall k, decoded t k = decoded (sweep V Q w (a + count)) k /\
    ((k < b)%nat -> working t k = working (sweep V Q w (a + count)) k) /\
    ((b <= k)%nat -> working t k = working (sweep V Q w a) k).
Proof.
  intros V Q w a b count s start; induction count as [|c IH]; intros fits t k.
  - rewrite Nat.add_0_r. destruct (start k). auto.
  - rewrite Nat.add_succ_r. unfold t. simpl. specialize (IH ltac:(lia)). simpl in IH.
    destruct (IH (a + c)%nat) as [_ [turn _]]. rewrite turn by lia.
    destruct (IH k) as [values [early late]]. split; [|split].
    + rewrite values. reflexivity.
    + intros ?. rewrite early, (proj2 (Nat.ltb_lt k b)), Bool.andb_true_r by assumption. reflexivity.
    + intros ?. rewrite (proj2 (Nat.ltb_ge k b)), Bool.andb_false_r by assumption. apply late. assumption.
Qed.

Lemma block_is_sweep : forall V Q w a size s,
  same s (sweep V Q w a) ->
  same (flush V w a size (inside V Q w a (a + size) size s)) (sweep V Q w (a + size)).
Proof.
  intros V Q w a size s start k.
  assert (B := inside_is_sweep V Q w a (a + size) size s start (le_n _)). simpl in B. simpl.
  destruct (B k) as [values [early late]]. split; [|assumption].
  destruct (Nat.leb_spec (a + size) k) as [beyond|]; [|apply early; assumption].
  rewrite late, pushed by assumption. f_equal. apply sum_ext; intros i _.
  rewrite (proj1 (B (a + i)%nat)). reflexivity.
Qed.

Theorem blocked_sweep_is_the_sweep : forall V Q w sizes,
  same (blocked V Q w 0 sizes {| working := w; decoded := w |}) (sweep V Q w (list_sum sizes)).
Proof.
  intros V Q w sizes.
  assert (general : forall a s, same s (sweep V Q w a) ->
    same (blocked V Q w a sizes s) (sweep V Q w (a + list_sum sizes))).
  { induction sizes as [|size later IH]; intros a s start; simpl.
    - rewrite Nat.add_0_r. assumption.
    - rewrite Nat.add_assoc. apply IH, block_is_sweep, start. }
  apply (general 0%nat). intros k. split; reflexivity.
Qed.
